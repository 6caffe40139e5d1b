"""`tiergate region`: the tree of regions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import client, context, named
from gateway.cli.files import read_text

app = typer.Typer()


@app.command("list", help="All regions of this node's catalogue.")
def list_() -> None:
    context.show(client.everything("/regions"), ["code", "name", "tier", "parent"])


@app.command(help="Add one region.")
def add(
    code: Annotated[str, typer.Argument(help="Division code, 2/4/6/9/12 significant digits.")],
    name: Annotated[str, typer.Argument(help="Name.")],
    tier: Annotated[str, typer.Option(help="city, district, street or community.")],
    parent: Annotated[str | None, typer.Option(help="Parent, by name or code; default by prefix.")] = None,
) -> None:
    context.show(
        client.post("/regions", {"code": code, "name": name, "tier": tier, "parent": named.maybe("region", parent)})
    )


@app.command("import", help="Import regions from CSV: code,name,tier[,parent[,code_source]].")
def import_(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]) -> None:
    context.show(client.post("/regions/import", {"csv": read_text(file)}))
