"""`tiergate report`: what was recorded, what is missing, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import client, context

app = typer.Typer()

From = Annotated[str | None, typer.Option("--from", help="Start; default 24 hours ago.")]
To = Annotated[str | None, typer.Option("--to", help="End; default now.")]
Camera = Annotated[list[str] | None, typer.Option("--camera", help="Only this camera; may be given again.")]


def _read(from_: str | None, to: str | None, camera: list[str] | None) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/reports/coverage", **{"from": from_, "to": to, "camera": camera or None})
    return found


@app.command(help="Per camera and day: seconds of footage, what is missing by cause, the longest gap.")
def coverage(from_: From = None, to: To = None, camera: Camera = None) -> None:
    columns = ["camera_id", "day", "footage_s", "coverage", "gaps_s", "unexplained_s", "longest_gap_s"]
    context.show(_read(from_, to, camera), columns)


@app.command(help="Only camera-days with something missing, the longest gap first.")
def gaps(from_: From = None, to: To = None, camera: Camera = None) -> None:
    found = _read(from_, to, camera)
    missing = [item for item in found["items"] if item["longest_gap_s"] > 0]
    missing.sort(key=lambda item: -item["longest_gap_s"])
    columns = [
        "camera_id",
        "day",
        "longest_gap_s",
        "longest_gap_from_ms",
        "longest_gap_cause",
        "gaps_s",
        "unexplained_s",
    ]
    context.show({"items": missing, "next": None}, columns)
