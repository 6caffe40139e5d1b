"""`tiergate store`: the store against the catalog, and a lost catalog made anew. On this machine's files, audited."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from config.errors import Kind, TiergateError
from gateway.cli import context

app = typer.Typer()


@app.command(help="Objects against rows, both ways; --tier-scope: prove that nothing of a lower tier lies here unduly.")
def check(
    tier_scope: Annotated[
        bool, typer.Option("--tier-scope", help="Every lower tier's object against its lease and its end.")
    ] = False,
    cost: Annotated[str, typer.Option("--cost", "--level", help="presence, size or hash (reads every byte).")] = "size",
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Then mend what can be mended. Nothing is deleted; a row is given up as lost only when two checks, an"
            " hour apart, have missed its object.",
        ),
    ] = False,
    confirm: Annotated[
        int, typer.Option("--confirm", min=0, help="With --repair: up to so many rows may be given up as lost.")
    ] = 0,
) -> None:
    from gateway.ops import store_work

    settings = context.settings()
    if tier_scope:
        scope = store_work.tier_scope(settings)
        context.show(scope)
        if scope["violations"]:
            raise TiergateError(Kind.CONFLICT, "cli.tier_scope_broken", count=len(scope["violations"]))
        return
    found, done = store_work.check_store(settings, cost, repair, confirm)
    answer: dict[str, Any] = found.as_json()
    if done is not None:
        answer["repair"] = done.as_json()
    context.show(answer)
    if not found.whole:
        raise TiergateError(Kind.CONFLICT, "ops.store_findings", count=len(found.findings) + len(found.unreadable))


@app.command(help="Rows for every object that has none, with the holds and classes that the store's journal remembers.")
def rebuild() -> None:
    from gateway.cli.offline import nobody_administers, note_unread_journal
    from gateway.ops import store_work

    settings = context.settings()
    answer = store_work.rebuild_store(settings)
    context.show(answer)
    note_unread_journal(answer["journal"]["unreadable"])
    if nobody_administers(settings):
        context.note(
            "Nobody can sign in: people are in backups alone. Add an administrator: tiergate user add-first LOGIN",
            "尚无人可以登录：用户只在备份中。请添加管理员：tiergate user add-first LOGIN",
        )


@app.command(
    help="Copy everything to another store, verified; may be interrupted and run again, beside the running node. With"
    " --switch, and the node stopped, the node then uses the new store. Nothing is deleted from the old one."
)
def migrate(
    to: Annotated[Path, typer.Option("--to", help="A settings file whose [store] table describes the new store.")],
    switch: Annotated[bool, typer.Option("--switch", help="Copy the rest and make it the node's store.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every copy again and compare its digest.")] = False,
    leave_unreadable: Annotated[
        bool, typer.Option("--leave-unreadable", help="Switch although the old store does not give some objects.")
    ] = False,
) -> None:
    from gateway.ops import store_move

    answer = store_move.move_store(
        context.settings(), context.config_path(), to, switch=switch, verify=verify, leave_unreadable=leave_unreadable
    )
    context.show(answer)
