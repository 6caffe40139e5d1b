"""`tiergate hold`: orders that footage stays."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import client, context, named

app = typer.Typer()

_COLUMNS = ["id", "cameras", "from_ms", "to_ms", "case_no", "owner", "class", "review_ms", "evidence", "verified",
            "released_ms"]  # fmt: skip


@app.command("list", help="Standing holds, and whether their footage is in two places; --all also released ones.")
def list_(everything: Annotated[bool, typer.Option("--all")] = False) -> None:
    answer = client.everything("/holds", all=everything or None)
    if not context.GLOBALS.json:
        for row in answer["items"]:
            found = row["evidence"] or {}
            row["evidence"] = found.get("colour", "")
            row["verified"] = f"{found['verified']}/{found['segments']}" if found else ""
    context.show(answer, _COLUMNS)


@app.command(help="Hold footage of cameras from … to …; the range may lie in the future.")
def add(
    camera: Annotated[list[str], typer.Argument(metavar="CAMERA…", help="By name or id.")],
    from_: Annotated[str, typer.Option("--from", help="Start, as 2026-11-24T15:20:00+08:00.")],
    to: Annotated[str, typer.Option("--to", help="End, written alike.")],
    case: Annotated[str, typer.Option(help="Case number.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    class_: Annotated[str, typer.Option("--class", help="3_months, 1_year or permanent.")] = "3_months",
    review: Annotated[str, typer.Option(help="Reviewed after, at most 90d.")] = "90d",
) -> None:
    body = {
        "cameras": named.each("camera", camera),
        "from": from_,
        "to": to,
        "case_no": case,
        "reason": reason,
        "class": class_,
        "review": review,
    }
    _told(client.post("/holds", body))


@app.command(help="Release a hold. What another hold covers stays.")
def release(
    hold: Annotated[str, typer.Argument(help="Its case number, or its id.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    _told(client.post(named.at("hold", hold) + "/release", {"reason": reason}))


def _told(answer: dict[str, Any]) -> None:
    """The hold; and, where a second person must still agree, that sentence."""
    notice = answer.get("notice")
    context.show(answer)
    if notice is not None:
        context.note(notice["en"], notice["zh"])
