"""`tiergate department`: units that footage is shared with."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()


@app.command("list", help="All departments.")
def list_() -> None:
    context.show(client.everything("/departments"), ["id", "name", "region"])


@app.command(help="Add a department.")
def add(
    name: Annotated[str, typer.Argument(help="Name.")],
    region: Annotated[str | None, typer.Option(help="Region, by name or code; default: this node's.")] = None,
) -> None:
    context.show(client.post("/departments", {"name": name, "region": named.maybe("region", region)}))


@app.command(help="Remove a department; its tokens end.")
def remove(department: Annotated[str, typer.Argument(help="Its name, or its id.")]) -> None:
    client.delete(named.at("department", department))
    context.say("removed", "已删除")
