"""`tiergate grant`: rights of users, roles and departments beyond their role."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named
from tiering.access import Function

app = typer.Typer()
_FUNCTIONS = ", ".join(Function)


@app.command("list", help="All grants.")
def list_() -> None:
    context.show(
        client.everything("/grants"),
        ["id", "subject_kind", "subject", "effect", "functions", "resources", "revoked_ms"],
    )


@app.command(help="Give or (with --deny) forbid functions on cameras or regions.")
def add(
    subject_kind: Annotated[str, typer.Argument(help="user, role or department.")],
    subject: Annotated[str, typer.Argument(help="Its name, login or id.")],
    function: Annotated[list[str], typer.Option(help=f"One of {_FUNCTIONS}; may be given again.")],
    camera: Annotated[list[str] | None, typer.Option(help="Camera, by name or id; may be given again.")] = None,
    region: Annotated[list[str] | None, typer.Option(help="Region subtree; may be given again.")] = None,
    deny: Annotated[bool, typer.Option("--deny", help="Forbid instead: deny always wins.")] = False,
    max_stream: Annotated[str | None, typer.Option(help="`sub` to give sub streams only.")] = None,
    max_streams: Annotated[
        int | None, typer.Option(min=1, help="At most so many pictures at once, of each person under this grant.")
    ] = None,
    valid_to: Annotated[
        str | None, typer.Option("--until", help="End of validity, as 2026-11-24T15:20:00+08:00.")
    ] = None,
) -> None:
    conditions = {"max_stream": max_stream, "max_streams": max_streams, "valid_to": valid_to}
    body = {
        "subject_kind": subject_kind,
        "subject": named.one(subject_kind, subject) if subject_kind in ("user", "department") else subject,
        "effect": "deny" if deny else "allow",
        "functions": function,
        "resources": {"cameras": named.each("own camera", camera), "regions": named.each("region", region)},
        "conditions": {k: v for k, v in conditions.items() if v},
    }
    context.show(client.post("/grants", body))


@app.command(help="Take a grant back.")
def revoke(grant: Annotated[str, typer.Argument(help="Its id, from `grant list`.")]) -> None:
    client.delete(named.at("grant", grant))
    context.say("revoked", "已撤销")
