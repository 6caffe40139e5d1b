"""`tiergate report`: what was recorded, what is missing and why, how far back it reaches."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import client, context

app = typer.Typer()

From = Annotated[str | None, typer.Option("--from", help="Start; default 24 hours ago.")]
To = Annotated[str | None, typer.Option("--to", help="End; default now.")]
Camera = Annotated[list[str] | None, typer.Option("--camera", help="Only this camera; may be given again.")]


@app.command(help="Per camera and day: seconds of footage, what is missing by cause, the longest gap.")
def coverage(from_: From = None, to: To = None, camera: Camera = None) -> None:
    columns = ["camera_id", "day", "footage_s", "coverage", "gaps_s", "unexplained_s", "longest_gap_s"]
    found = client.get("/reports/coverage", **{"from": from_, "to": to, "camera": camera or None})
    context.show(found, columns)


@app.command(help="Every gap longer than 2 s with its cause, how complete the camera-days are, and the sums.")
def gaps(from_: From = None, to: To = None, camera: Camera = None) -> None:
    query = {"from": from_, "to": to, "camera": camera or None}
    found: dict[str, Any] = client.get("/reports/gaps", **query)
    while found["next"] is not None:
        following = client.get("/reports/gaps", cursor=found["next"], **query)
        found["items"] += following["items"]
        found["next"] = following["next"]
    context.show(found, ["camera_id", "from_ms", "to_ms", "seconds", "cause", "class", "held", "reason"])
    incomplete = [day for day in found["days"] if day["missing_s"] > 0]
    if incomplete:
        context.say("", "")
        if not context.GLOBALS.json:
            context.table(incomplete, ["camera_id", "day", "due_s", "missing_s", "completeness"])
    _say_sum(found["sum"])


def _say_sum(total: dict[str, Any]) -> None:
    share = "-" if total["completeness"] is None else f"{total['completeness'] * 100:.3f} %"
    context.say("", "")
    context.say(
        f"{total['gaps']} gap(s), {total['missing_s']} s of {total['due_s']} s due: completeness {share}; "
        f"{total['camera_days_below']} of {total['camera_days']} camera-day(s) below 95 %",
        f"中断 {total['gaps']} 处，应录 {total['due_s']} 秒中缺 {total['missing_s']} 秒：完整率 {share}；"
        f"{total['camera_days']} 个摄像机日中 {total['camera_days_below']} 个低于 95 %",
    )
    for cause, one in total["causes"].items():
        context.say(
            f"{cause}: {one['gaps']} gap(s), {one['seconds']} s", f"{cause}：{one['gaps']} 处，{one['seconds']} 秒"
        )
    longest = total["longest"]
    if longest is not None:
        at = context.cell("from_ms", longest["from_ms"])
        context.say(
            f"longest: {longest['seconds']} s, {longest['camera_id']}, from {at}",
            f"最长：{longest['seconds']} 秒，{longest['camera_id']}，自 {at}",
        )


@app.command(help="How far back each camera's footage reaches against what is promised, and what stands too long.")
def retention(camera: Camera = None) -> None:
    found: dict[str, Any] = client.get("/reports/retention", camera=camera or None)
    columns = [
        "camera_id", "class", "state", "promised_days", "attained_days", "breaks_ms", "overkept_segments", "reason",
    ]  # fmt: skip
    context.show(found, columns)
    total = found["sum"]
    context.say(
        f"over-kept: {total['overkept_segments']} segment(s), {total['overkept_bytes']} bytes",
        f"超期未删：{total['overkept_segments']} 段，{total['overkept_bytes']} 字节",
    )
