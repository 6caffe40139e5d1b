"""`tiergate lease`: both sides of leases: what upper nodes may watch here, what we may watch below."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()

COLUMNS = ["id", "side", "kind", "case_no", "persons", "cameras", "state", "expires_ms", "cache_until_ms", "end_reason"]


@app.command("list", help="Leases, newest first.")
def list_(
    side: Annotated[str | None, typer.Option(help="granted (by us) or held (by us).")] = None,
    active: Annotated[bool, typer.Option("--active")] = False,
) -> None:
    context.show(client.everything("/leases", side=side, active=active or None), COLUMNS)


@app.command(help="Confirm an emergency lease as the second person.")
def confirm(lease: Annotated[str, typer.Argument(help="Its case number, or its id.")]) -> None:
    context.show(client.post(named.at("lease", lease) + "/confirm"))


@app.command(help="End a lease that we granted.")
def revoke(
    lease: Annotated[str, typer.Argument(help="Its case number, or its id.")],
    reason: Annotated[str, typer.Option(help="Why.")],
) -> None:
    context.show(client.post(named.at("lease", lease) + "/revoke", {"reason": reason}))
