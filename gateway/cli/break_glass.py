"""`tiergate break-glass`: rights in a sealed envelope, for the night when who may is not there."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named
from gateway.cli.login import read_password

app = typer.Typer()

_COLUMNS = ["id", "state", "hours", "person", "reason", "used_ms", "until_ms", "reviewed_by", "words"]
_ID = Annotated[str, typer.Argument(metavar="SEAL", help="Its id, from `break-glass list`.")]


@app.command(help="Make a code to be printed and sealed. It is shown once.")
def seal(hours: Annotated[int, typer.Option(help="How long the rights last once it is opened.")] = 2) -> None:
    context.show(client.post("/break-glass", {"hours": hours}))


@app.command("list", help="Seals, newest first, and what became of them.")
def list_() -> None:
    context.show(client.get("/break-glass")["items"], _COLUMNS)


@app.command("open", help="Open a seal: the duty officer's rights, at once and for its hours. An alarm until reviewed.")
def open_(
    reason: Annotated[str, typer.Option(help="Why it cannot wait.")],
    seal_stdin: Annotated[bool, typer.Option("--seal-stdin", help="Read the code from standard input.")] = False,
) -> None:
    code = read_password(seal_stdin, context.words("Seal", "封存码"))
    context.show(client.post("/break-glass/open", {"seal": code, "reason": reason}), _COLUMNS)


@app.command(help="Make a seal void, or end the rights of an opened one.")
def end(seal_id: _ID) -> None:
    context.show(client.delete(named.at("seal", seal_id)), _COLUMNS)


@app.command(help="Say, as somebody else, what you found in the register of those hours.")
def review(seal_id: _ID, words: Annotated[str, typer.Option(help="What was found.")]) -> None:
    context.show(client.post(named.at("seal", seal_id) + "/review", {"words": words}), _COLUMNS)
