"""`tiergate stream-password`: what software that knows no token reads live streams with, over RTSP."""

from __future__ import annotations

from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from gateway.cli import client, context, named

app = typer.Typer()


@app.command("list", help="Stream passwords that were made; never the passwords themselves.")
def list_() -> None:
    columns = ["id", "owner_name", "label", "cameras", "expires_ms", "state"]
    context.show(client.everything("/stream-passwords"), columns)


@app.command(help="Make a stream password. It is shown once.")
def create(
    owner: Annotated[str, typer.Option("--for", help="token:LABEL or user:LOGIN; it never reaches further.")],
    cameras: Annotated[list[str], typer.Option(help="Cameras, by name or id, comma between them; may be given again.")],
    label: Annotated[str, typer.Option(help="What it is for and who keeps it.")],
    until: Annotated[str, typer.Option(help="How long it works (8h, 30d), or the moment of its end.")] = "30d",
    network: Annotated[
        list[str] | None, typer.Option(help="Network it may be used from, 10.1.2.0/24; may be given again.")
    ] = None,
    max_stream: Annotated[str | None, typer.Option(help="`sub` for sub streams only.")] = None,
    unmarked_basis: Annotated[
        str | None, typer.Option(help="Of a token: who agreed to pictures without watermark, in which document.")
    ] = None,
) -> None:
    kind, _, name = owner.partition(":")
    if kind not in ("token", "user") or not name:
        raise TiergateError(Kind.INVALID, "cli.option_choice", option="--for", choices="token:LABEL, user:LOGIN")
    listed = [one.strip() for given in cameras for one in given.split(",") if one.strip()]
    body = {
        "owner_kind": kind,
        "owner": named.one(kind, name),
        "label": label,
        "cameras": named.each("own camera", listed),
        "expires": until,
        "networks": network,
        "max_stream": max_stream,
        "unmarked_basis": unmarked_basis,
    }
    context.show(client.post("/stream-passwords", {k: v for k, v in body.items() if v is not None}))


@app.command(help="Revoke a stream password: running streams stop within seconds.")
def revoke(
    stream_password: Annotated[str, typer.Argument(help="Its label, or its id, which is also its user name.")],
) -> None:
    context.show(client.post(named.at("stream password", stream_password) + "/revoke"))
