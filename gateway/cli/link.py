"""`tiergate link`: pairing with nodes above and below."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context

app = typer.Typer()

_COLUMNS = [
    "id",
    "peer_name",
    "peer_role",
    "peer_tier",
    "peer_region",
    "url",
    "capacity_bps",
    "bytes_per_day",
    "bytes_left",
    "last_seen_ms",
    "suspended_ms",
    "problem",
]


@app.command("list", help="Links of this node.")
def list_() -> None:
    context.show(client.everything("/links"), _COLUMNS)


@app.command(help="Make a one-time code for another node: it becomes our `upper` or `lower`.")
def invite(peer_role: Annotated[str, typer.Argument(metavar="upper|lower")]) -> None:
    context.show(client.post("/links/invite", {"peer_role": peer_role}))


@app.command(help="Accept the code another node made.")
def accept(code: Annotated[str, typer.Argument(help="The code.")]) -> None:
    context.show(client.post("/links/accept", {"code": code}))


@app.command("set", help="Change a link's capacity, kind or daily quota of pictures.")
def set_(
    link: Annotated[str, typer.Argument(help="Link id.")],
    capacity_bps: Annotated[int | None, typer.Option(help="Capacity of the line in bit/s.")] = None,
    kind: Annotated[str | None, typer.Option(help="dedicated, shared or diode.")] = None,
    bytes_per_day: Annotated[
        int | None, typer.Option(help="Bytes of our pictures that the upper node may be given in any 24 hours.")
    ] = None,
) -> None:
    body = {"capacity_bps": capacity_bps, "kind": kind, "bytes_per_day": bytes_per_day}
    context.show(client.patch(f"/links/{client.part(link)}", {k: v for k, v in body.items() if v is not None}))


@app.command(help="Suspend a link (or --resume): running pulls stop; the other side is told.")
def suspend(
    link: Annotated[str, typer.Argument(help="Link id.")],
    resume: Annotated[bool, typer.Option("--resume")] = False,
) -> None:
    context.show(client.patch(f"/links/{client.part(link)}", {"suspended": not resume}))


@app.command(help="Remove a link for good.")
def remove(link: Annotated[str, typer.Argument(help="Link id.")]) -> None:
    client.delete(f"/links/{client.part(link)}")
    context.say("removed", "已删除")
