"""`tiergate report`: what was recorded, what is missing and why, how far back it reaches; who looked; what an
assessment of the impact on people needs."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from config.names import made_visible
from gateway.cli import client, context, named

app = typer.Typer()

From = Annotated[str | None, typer.Option("--from", help="Start, as 2026-11-24T15:20:00+08:00; default 24 hours ago.")]
To = Annotated[str | None, typer.Option("--to", help="End, written alike; default now.")]
Camera = Annotated[
    list[str] | None, typer.Option("--camera", help="Only this camera, by name or id; may be given again.")
]


@app.command(help="Per camera and day: seconds of footage, what is missing by cause, the longest gap.")
def coverage(from_: From = None, to: To = None, camera: Camera = None) -> None:
    columns = ["camera_id", "day", "footage_s", "coverage", "gaps_s", "unexplained_s", "longest_gap_s"]
    found = client.get(
        "/reports/coverage", **{"from": from_, "to": to, "camera": named.each("own camera", camera) or None}
    )
    context.show(found, columns)


@app.command(help="Every gap longer than 2 s with its cause, how complete the camera-days are, and the sums.")
def gaps(from_: From = None, to: To = None, camera: Camera = None) -> None:
    query = {"from": from_, "to": to, "camera": named.each("own camera", camera) or None}
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
    if found["recorded_by_owner"] and not context.GLOBALS.json:
        context.say("\nrecorded by their owners, by sample:", "\n由权属单位录制，抽查结果：")
        _sampled(found["recorded_by_owner"])
    _say_sum(found["sum"])


def _sampled(rows: list[dict[str, Any]]) -> None:
    names = ["camera_id", "state", "present", "missing", "unanswered", "completeness", "last_answered_ms", "reason"]
    context.table(rows, names)


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
    found: dict[str, Any] = client.get("/reports/retention", camera=named.each("own camera", camera) or None)
    columns = [
        "camera_id", "class", "state", "promised_days", "attained_days", "breaks_ms", "overkept_segments", "reason",
    ]  # fmt: skip
    context.show(found, columns)
    if found["recorded_by_owner"] and not context.GLOBALS.json:
        context.say("\nrecorded by their owners, as attested:", "\n由权属单位录制，书面承诺如下：")
        names = ["camera_id", "class", "state", "floor_days", "attested_days", "valid_until_ms", "reason"]
        context.table(found["recorded_by_owner"], names)
        context.say("\nand as their recorders answered when they were asked by sample:", "\n抽查其录像机的结果：")
        _sampled([{"camera_id": one["camera_id"]} | one["checked"] for one in found["recorded_by_owner"]])
        context.say("", "")
    total = found["sum"]
    context.say(
        f"over-kept: {total['overkept_segments']} segment(s), {total['overkept_bytes']} bytes",
        f"超期未删：{total['overkept_segments']} 段，{total['overkept_bytes']} 字节",
    )


@app.command(help="Who looked how often, how long, at how much and what for, in one month.")
def use(
    month: Annotated[
        str | None, typer.Option("--month", help="As 2026-11, of Asia/Shanghai; default: this month, until now.")
    ] = None,
) -> None:
    found: dict[str, Any] = client.get("/reports/use", month=month)
    columns = [
        "unit", "viewer", "pictures", "purpose", "function", "mechanism", "looks", "earlier", "running", "persons",
        "cameras", "watched_s", "bytes", "refused", "cut",
    ]  # fmt: skip
    context.show(found, columns)
    for name, english, chinese in (("own", "own cameras", "本级画面"), ("lower", "lower tiers", "下级画面")):
        one = found["sum"][name]
        context.say(
            f"{english}: {one['looks']} look(s) by {one['persons']} person(s) at {one['cameras']} camera(s), "
            f"{one['watched_s']} s, {one['bytes']} bytes, {one['refused']} refused",
            f"{chinese}：{one['persons']} 人调阅 {one['cameras']} 路摄像机 {one['looks']} 次，"
            f"{one['watched_s']} 秒，{one['bytes']} 字节，拒绝 {one['refused']} 次",
        )
    if found["without_case"]:
        context.say("\nwithout a case number where one is expected:", "\n应填案号而未填：")
        if not context.GLOBALS.json:
            context.table(found["without_case"], ["unit", "person", "purpose", "function", "looks"])
    for one in found["below"]:
        told = one["report"]["sum"]["all"]
        context.say(
            f"{one['name']} says: {told['looks']} look(s) by us at {told['cameras']} of its cameras, "
            f"{told['watched_s']} s, {told['bytes']} bytes",
            f"{one['name']} 报告：本级调阅其 {told['cameras']} 路摄像机 {told['looks']} 次，"
            f"{told['watched_s']} 秒，{told['bytes']} 字节",
        )
    if found["agrees"] is False:
        context.note(
            "the register does not add up to this kept report any more",
            "调阅登记与当时留存的报告已不一致",
        )


@app.command(help="The form of an impact assessment (PIPL art. 55, 56), filled from this node; the rest is yours.")
def impact() -> None:
    from gateway.cli.impact_form import render

    found: dict[str, Any] = client.get("/reports/impact")
    if context.GLOBALS.json:
        context.show(found)
    else:
        print(made_visible(render(found, context.language())))
