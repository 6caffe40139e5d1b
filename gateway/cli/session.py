"""`tiergate session`: who is signed in, and ending that."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()


@app.command("list", help="Sign-ins that run: your own; everybody's for security and audit administrators.")
def list_(user: Annotated[str | None, typer.Option(help="Of this login.")] = None) -> None:
    context.show(
        client.everything("/sessions", user=user),
        ["id", "kind", "login", "name", "on_duty", "client", "created_ms", "expires_ms", "current"],
    )


@app.command(help="End sign-ins: what is looked at under them ends within seconds.")
def end(
    session: Annotated[
        list[str],
        typer.Argument(metavar="SESSION...", help="Their ids, from `session list`; or a login that has one only."),
    ],
) -> None:
    for id_ in session:
        client.delete(named.at("session", id_))
