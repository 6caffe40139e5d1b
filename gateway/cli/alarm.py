"""`tiergate alarm`: what stands wrong on this node, and whether those who should be told can be reached."""

from __future__ import annotations

import os

import typer

from config.errors import Kind, TiergateError
from gateway.cli import context

app = typer.Typer()


@app.command("list", help="What the keeper holds to be wrong, the worst first; `doctor` looks afresh.")
def list_() -> None:
    from gateway.ops import lookout
    from gateway.ops.store_work import open_catalog

    with open_catalog(context.settings()) as catalog:
        found = lookout.read(catalog)
    rows = [
        {"since_ms": alarm.since_ms, "level": alarm.told, "check": alarm.check, "reason": alarm.reason}
        for alarm in found.standing
    ]
    context.show({"items": rows, "waiting": len(found.waiting)}, ["since_ms", "level", "check", "reason"])
    if found.waiting:
        context.note(
            f"{len(found.waiting)} piece(s) of news wait for a hook: `tiergate alarm test`",
            f"{len(found.waiting)} 条消息等待发送：tiergate alarm test",
        )


@app.command(help="Send a test to every hook of the settings, and say which one took it.")
def test() -> None:
    from config.clock import make_clock, wall_ms
    from config.ids import ulid
    from config.reasons import Reason, text
    from gateway.access.keys import load_keys
    from gateway.ops.alarm_hooks import hooks, message
    from gateway.ops.alarms import News

    settings = context.settings()
    found = hooks(settings.alarms)
    if not found:
        raise TiergateError(Kind.INVALID, "ops.alarm_no_hook")
    now_ms = wall_ms(make_clock(settings))
    said = Reason("ops.alarm_test").as_json()
    news = News(ulid(now_ms, os.urandom(10)), "raised", now_ms, "test", "warn", now_ms, said, None)
    told = message(news, load_keys(settings).node_id, settings.node.name)
    rows: list[dict[str, object]] = []
    for name, hook in found.items():
        try:
            hook(told, now_ms // 1000)
        except TiergateError as error:
            rows.append({"hook": name, "ok": False, "problem": text(error.reason, context.language())})
        else:
            rows.append({"hook": name, "ok": True, "problem": ""})
    context.show({"items": rows}, ["hook", "ok", "problem"])
    if not all(row["ok"] for row in rows):
        raise typer.Exit(1)
