"""`tiergate approval`: what waits for a second person, and their word."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named

app = typer.Typer()

_COLUMNS = ["id", "state", "what", "reason", "requester_name", "expires_ms", "may_decide", "decided_name", "words"]
_ID = Annotated[str, typer.Argument(metavar="APPROVAL", help="Its id, from `approval list`.")]


@app.command("list", help="What waits, newest first; --all also what is decided.")
def list_(
    everything: Annotated[bool, typer.Option("--all")] = False,
    state: Annotated[str, typer.Option(help="pending, given, refused, expired or used.")] = "pending",
) -> None:
    context.show(client.everything("/approvals", state=None if everything else state), _COLUMNS)


@app.command(help="Give it: what it shows is done at once, in the name of who asked.")
def give(approval: _ID, words: Annotated[str, typer.Option(help="What you have to say about it.")] = "") -> None:
    _decide(approval, "give", words)


@app.command(help="Refuse it. A hold that stands provisionally ends.")
def refuse(approval: _ID, words: Annotated[str, typer.Option(help="Why.")]) -> None:
    _decide(approval, "refuse", words)


def _decide(approval: str, decision: str, words: str) -> None:
    answer = client.post(named.at("approval", approval), {"decision": decision, "words": words})
    context.show(answer if context.GLOBALS.json else answer["outcome"][context.language()])
