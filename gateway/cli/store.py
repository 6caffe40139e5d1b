"""`tiergate store`: the store against the catalog, and a lost catalog made anew. On this machine's files, audited."""

from __future__ import annotations

from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from gateway.cli import context

app = typer.Typer()


@app.command(help="Objects against rows, both ways; --tier-scope: prove that nothing of a lower tier lies here unduly.")
def check(
    tier_scope: Annotated[
        bool, typer.Option("--tier-scope", help="Every lower tier's object against its lease and its end.")
    ] = False,
    level: Annotated[str, typer.Option(help="presence, size or hash (reads every byte).")] = "size",
) -> None:
    from gateway.ops import store_work

    settings = context.settings()
    if tier_scope:
        scope = store_work.tier_scope(settings)
        context.show(scope)
        if scope["violations"]:
            raise TiergateError(Kind.CONFLICT, "cli.tier_scope_broken", count=len(scope["violations"]))
        return
    found = store_work.check_store(settings, level)
    context.show(found.as_json())
    if not found.whole:
        raise TiergateError(Kind.CONFLICT, "ops.store_findings", count=len(found.findings))


@app.command(help="Rows for every object that has none, with the holds and classes that the store's journal remembers.")
def rebuild() -> None:
    from gateway.ops import store_work

    context.show(store_work.rebuild_store(context.settings()))
