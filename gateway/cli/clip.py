"""`tiergate clip`: a stretch of footage as a file: original pictures cut at key frames, or with a watermark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import client, context, named


def command(
    camera: Annotated[str, typer.Argument(help="Its name, or its 20-digit id.")],
    from_: Annotated[str, typer.Option("--from", help="Start, as 2026-11-24T15:20:00+08:00.")],
    to: Annotated[str, typer.Option("--to", help="End, written alike.")],
    reason: Annotated[str, typer.Option(help="Why; stands in the register.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File; never overwritten.")],
    case: Annotated[str | None, typer.Option(help="Case number; stands in the register and in a watermark.")] = None,
    purpose: Annotated[
        str, typer.Option(help="What for: evidence, incident_review, person_request, …; stands in the register.")
    ] = "evidence",
    watermark: Annotated[
        bool | None,
        typer.Option(
            "--watermark/--original",
            help="Your name, unit and the time burnt into the pictures, or the pictures as recorded (for evidence; not "
            "for everybody). Without either the node's rules choose.",
        ),
    ] = None,
) -> None:
    query = {"from": from_, "to": to, "reason": reason, "case_no": case, "purpose": purpose}
    if watermark is not None:
        query["watermark"] = str(watermark).lower()
    written, said = client.download(named.at("camera", camera) + "/clip.mp4", query, output)
    gaps, damaged = (json.loads(said.get(f"X-Tiergate-{name}", "[]")) for name in ("Gaps", "Damaged"))
    context.show({"file": str(output), "bytes": written, "gaps": gaps, "damaged": damaged})
    if gaps:
        context.note("Footage is missing in it: see gaps.", "片段内有缺失的录像，见 gaps。")
    if damaged:
        context.note("Stretches of it differ from their recording: see damaged.", "片段与录制内容不一致，见 damaged。")
