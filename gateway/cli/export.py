"""`tiergate export`: footage as evidence: a package that proves itself, and the program that judges one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from gateway.cli import client, context, named

app = typer.Typer()


@app.command(
    help="Footage of own cameras as it was recorded, whole segments, with a signed manifest and the program that "
    "judges it. For people who may export and hold it."
)
def evidence(
    cameras: Annotated[list[str], typer.Argument(help="By name or 20-digit id, up to 16.")],
    from_: Annotated[str, typer.Option("--from", help="Start, as 2026-11-24T15:20:00+08:00.")],
    to: Annotated[str, typer.Option("--to", help="End, written alike; at most 24 h later.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the register and in the package.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ZIP; never overwritten.")],
    case: Annotated[str | None, typer.Option(help="Case number; stands in the register and in the package.")] = None,
    stream: Annotated[str, typer.Option(help="main or sub.")] = "main",
    purpose: Annotated[str, typer.Option(help="What for; stands in the register.")] = "evidence",
) -> None:
    query = {
        "camera": named.each("own camera", cameras), "from": from_, "to": to, "reason": reason, "case_no": case,
        "stream": stream, "purpose": purpose,
    }  # fmt: skip
    written, said = client.download("/exports/evidence.zip", query, output)
    gaps, damaged = (json.loads(said.get(f"X-Tiergate-{name}", "[]")) for name in ("Gaps", "Damaged"))
    more = int(said.get("X-Tiergate-Not-Listed", "0"))
    context.show({"file": str(output), "bytes": written, "gaps": gaps, "damaged": damaged, "not_listed": more})
    if gaps:
        context.note("Footage is missing in it: see gaps.", "证据包内有缺失的录像，见 gaps。")
    if damaged:
        context.note("Segments are known to be damaged: see damaged.", "已知有分段损坏，见 damaged。")


@app.command(help="Whether an evidence package FILE, or the folder it was unpacked into, is what its node signed.")
def verify(
    file: Annotated[Path, typer.Argument(exists=True, readable=True)],
    key: Annotated[
        str | None, typer.Option(help="Fingerprint or public key (base64url) that must have signed it.")
    ] = None,
    audit: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, readable=True, help="Export of the node's audit log: must name it."),
    ] = None,
) -> None:
    from gateway.evidence import verifier

    try:
        found = verifier.verify(str(file), key, None if audit is None else str(audit))
    except verifier.Bad as bad:
        english, chinese = verifier.WORDS[bad.code]
        problem = chinese if context.language() == "zh" else english
        raise TiergateError(Kind.CONFLICT, "ops.package_bad", problem=problem.format(what=bad.what)) from None
    except OSError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "cli.file_unreadable", path=file) from exc
    if not context.GLOBALS.json:
        print("\n".join(verifier.report(found, key is not None)))
        return
    context.show(
        {
            "ok": True,
            "key_compared": key is not None,
            "fingerprint": found["fingerprint"],
            "files": found["files"],
            "audit_seq": found["audit"]["seq"],
            "package": found["manifest"]["package"],
        }
    )


@app.command(help="The fingerprint of the key with which this node signs: to be told to whoever judges a package.")
def key() -> None:
    found = client.get("/node")
    context.show({"name": found["name"], "node_id": found["node_id"], "fingerprint": found["fingerprint"]})
