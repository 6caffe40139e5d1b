"""`tiergate audit`: who did what; whether the record is whole; a copy that proves itself away from any node."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import Kind, TiergateError
from config.units import format_time_ms
from gateway.cli import client, context
from gateway.cli.files import new_file

app = typer.Typer()


@app.command(help="The newest entries.")
def tail(
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1000, help="How many.")] = 20,
    action: Annotated[str | None, typer.Option(help="Only this action; `hold.` means all of holds.")] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only this actor: a login, or a whole one as shown (node:…, token:…).")
    ] = None,
) -> None:
    found = client.get("/audit", limit=count, action=action, actor=actor)
    if not context.GLOBALS.json:
        found["items"].reverse()
    context.show(found, ["seq", "at_ms", "actor", "action", "subject"])


@app.command(
    help="Whether the chain is whole: this node's, held against its signed heads, or that of an exported FILE, judged "
    "by the file alone."
)
def verify(
    file: Annotated[Path | None, typer.Argument(exists=True, dir_okay=False, readable=True)] = None,
    key: Annotated[
        str | None, typer.Option(help="Public key (base64url) that must have signed the checkpoints in FILE.")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="Checkpoints that left the machine (one JSON a line; an earlier export will do): FILE must hold every "
            "one of them, from the first entry on.",
        ),
    ] = None,
    witness: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            readable=True,
            help="Export of a linked node: FILE must hold every head that the node of --key gave to it, from the first "
            "entry on.",
        ),
    ] = None,
) -> None:
    if file is None:
        if key is not None or against is not None or witness is not None:
            raise TiergateError(Kind.INVALID, "ops.audit_file_missing")
        answer = client.get("/audit/verify")
        end = answer["end"]
        whole = answer["whole"] and end["state"] != "cut"
        context.show({"ok": whole, "broken_at_seq": answer["broken_at_seq"], "end": end["state"], **_shown(end)})
        if not answer["whole"]:
            raise TiergateError(Kind.CONFLICT, "cli.audit_broken", seq=answer["broken_at_seq"])
        if not whole:
            at = format_time_ms(end["signed_ms"], local=True)
            params = {"at": at, "from": end["from_seq"], "to": end["to_seq"]}
            raise TiergateError(Kind.CONFLICT, "ops.audit_cut", **params)
        return
    from config.crypto import unb64
    from storage.audit.heads import read_heads
    from storage.audit.log import read_checkpoints, verify_export

    try:
        trusted = unb64(key) if key is not None else None
    except ValueError:
        raise TiergateError(Kind.INVALID, "ops.audit_key") from None
    anchors = []
    if against is not None:
        try:
            with against.open(encoding="utf-8", errors="replace") as lines:
                anchors = read_checkpoints(lines)
        except (ValueError, RecursionError):
            raise TiergateError(Kind.INVALID, "ops.audit_anchors", path=against) from None
    if witness is not None:
        if trusted is None:
            raise TiergateError(Kind.INVALID, "ops.audit_witness_key")
        try:
            with witness.open(encoding="utf-8", errors="replace") as lines:
                anchors += read_heads(lines, trusted)
        except (ValueError, RecursionError):
            raise TiergateError(Kind.INVALID, "ops.audit_anchors", path=witness) from None
    with file.open(encoding="utf-8", errors="replace") as lines:
        verdict = verify_export(lines, trusted, anchors)
    shown: dict[str, Any] = {
        "ok": verdict.whole,
        "entries": verdict.entries,
        "first_seq": verdict.first_seq,
        "last_seq": verdict.last_seq,
        "checkpoints": verdict.checkpoints,
        "bad": verdict.bad,
    }
    context.show(shown)
    if verdict.bad is not None:
        raise TiergateError(Kind.CONFLICT, "ops.audit_export_bad", problem=verdict.bad)


def _shown(end: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in end.items() if name != "state"}


@app.command(help="Say what you found about an end of the log that was cut. The alarm ends; heads are signed again.")
def review(words: Annotated[str, typer.Option(help="What was found.")]) -> None:
    context.show(client.post("/audit/review", {"words": words}))


@app.command(
    help="The whole log as NDJSON with a head signed now; `audit verify FILE` needs nothing but that file. Where the "
    "node signs none, because the log lost what was signed or the store does not answer, it has the entries alone."
)
def export(file: Annotated[Path, typer.Argument(help="New file.")]) -> None:
    from storage.audit.log import FORMAT, canonical_json

    items: list[dict[str, Any]] = []
    head: dict[str, Any] | None = None
    refused: TiergateError | None = None
    with new_file(file) as target:
        try:
            head = client.get("/audit/checkpoint")  # first: whatever is written afterwards is behind the signed head
        except TiergateError as exc:
            if exc.kind not in (Kind.CONFLICT, Kind.UNAVAILABLE):
                raise
            refused = exc
        cursor: str | None = None
        while True:
            page = client.get("/audit", limit=1000, cursor=cursor)
            items += page["items"]
            cursor = page["next"]
            if cursor is None:
                break
        lines = [{"kind": "tiergate-audit", "format": FORMAT}]
        lines += [{"kind": "entry", **item} for item in reversed(items)]
        if head is not None:
            lines.append({"kind": "checkpoint", **head})
        for line in lines:
            target.write(canonical_json(line) + b"\n")
    context.show({"file": str(file), "entries": len(items), "signed_seq": head["seq"] if head is not None else None})
    if refused is not None:
        raise refused
