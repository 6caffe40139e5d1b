"""`tiergate upgrade`: brings the catalog to this version, by hand and before `serve` would do it."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import context


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    from gateway.ops import backup_work
    from gateway.ops.actor import operator

    answer = backup_work.upgrade(context.settings(), operator(), dry_run)
    context.show(answer)
    if not answer["steps"]:
        context.say("The catalog is up to date.", "目录数据库已是最新。")
    elif dry_run:
        context.say("Nothing was changed.", "未作任何改动。")
