"""`tiergate incident`: number, place, time, cameras. No case management."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()


@app.command("list", help="Open incidents.")
def list_() -> None:
    context.show(client.everything("/incidents"), ["id", "number", "place", "at_ms", "cameras", "closed_ms"])


@app.command("open", help="Open an incident.")
def open_(
    number: Annotated[str, typer.Argument(help="Number.")],
    place: Annotated[str, typer.Option(help="Place in words.")],
    camera: Annotated[list[str] | None, typer.Option(help="Camera near it, by name or id; may be given again.")] = None,
    at: Annotated[str | None, typer.Option(help="When; default now.")] = None,
) -> None:
    context.show(
        client.post("/incidents", {"number": number, "place": place, "cameras": named.each("camera", camera), "at": at})
    )


@app.command(help="Change the cameras or place.")
def update(
    incident: Annotated[str, typer.Argument(help="Its number, or its id.")],
    place: Annotated[str | None, typer.Option()] = None,
    camera: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    body = {"place": place, "cameras": named.each("camera", camera) or None}
    context.show(client.patch(named.at("incident", incident), {k: v for k, v in body.items() if v is not None}))


@app.command(help="Close an incident.")
def close(incident: Annotated[str, typer.Argument(help="Its number, or its id.")]) -> None:
    context.show(client.patch(named.at("incident", incident), {"closed": True}))
