"""`tiergate shift`: who is on duty at which shared wall. People sign on at the wall itself."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()

_COLUMNS = ["id", "state", "wall", "person", "login", "started_ms", "until_ms", "ended_ms", "client"]


@app.command("list", help="Shifts, newest first.")
def list_(
    running: Annotated[bool, typer.Option("--running", help="Only of people who are on duty now.")] = False,
) -> None:
    context.show(client.everything("/shifts", running=running), _COLUMNS)


@app.command(help="End a shift: what is looked at under it ends within seconds, the wall stays signed in.")
def end(
    shift_id: Annotated[str, typer.Argument(metavar="SHIFT", help="The wall, who is on duty there, or its id.")],
) -> None:
    context.show(client.delete(named.at("shift", shift_id)), _COLUMNS)
