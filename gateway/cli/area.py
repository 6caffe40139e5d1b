"""`tiergate area`: key places; a camera's class is the highest of its areas'."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()
_REGION = typer.Option(help="Instead of cameras: all of this region and below, also later ones; may be given again.")


@app.command("list", help="All areas.")
def list_() -> None:
    context.show(
        client.everything("/areas"),
        ["id", "name", "class", "document_no", "regions", "cameras", "valid_from_ms", "valid_to_ms"],
    )


@app.command(help="Add an area with its class and the document that orders it.")
def add(
    name: Annotated[str, typer.Argument(help="Name of the place.")],
    document: Annotated[str, typer.Option(help="Document number.")],
    class_: Annotated[str, typer.Option("--class", help="Retention class.")] = "key",
    camera: Annotated[list[str] | None, typer.Option(help="Camera, by name or id; may be given again.")] = None,
    region: Annotated[list[str] | None, _REGION] = None,
    valid_from: Annotated[
        str | None, typer.Option("--from", help="From when, as 2026-11-24T15:20:00+08:00; default now.")
    ] = None,
    valid_to: Annotated[str | None, typer.Option("--to", help="Until when, written alike; default open.")] = None,
) -> None:
    body = {
        "name": name,
        "class": class_,
        "document_no": document,
        "cameras": named.each("own camera", camera),
        "regions": named.each("region", region),
        "from": valid_from,
        "to": valid_to,
    }
    context.show(client.post("/areas", body))


@app.command("set", help="Replace the cameras or regions of an area from now on, or end it.")
def set_(
    area: Annotated[str, typer.Argument(help="Its name, or its id.")],
    camera: Annotated[list[str] | None, typer.Option(help="The new set of cameras.")] = None,
    region: Annotated[list[str] | None, _REGION] = None,
    valid_to: Annotated[str | None, typer.Option("--to", help="Until when, as 2026-11-24T15:20:00+08:00.")] = None,
) -> None:
    body = {
        "cameras": named.each("own camera", camera) or None,
        "regions": named.each("region", region) or None,
        "to": valid_to,
    }
    context.show(client.patch(named.at("area", area), {k: v for k, v in body.items() if v is not None}))
