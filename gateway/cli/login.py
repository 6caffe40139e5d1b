"""`tiergate login`: the session under which later commands run."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from gateway.cli import client, context


def read_password(from_stdin: bool, prompt: str) -> str:
    """From the terminal without echo, or the first line of standard input. Raises cli.password_missing."""
    if from_stdin or not sys.stdin.isatty():
        value = sys.stdin.readline().rstrip("\n")
    else:
        value = typer.prompt(prompt, hide_input=True)
    if not value:
        raise TiergateError(Kind.INVALID, "cli.password_missing")
    return value


def command(
    login: Annotated[str, typer.Argument(help="Login name.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    password = read_password(password_stdin, context.words("Password", "密码"))
    client.require_place_for_sessions()  # else the sign-in would stand open on the node, and nobody could end it
    answer = client.post("/session", {"login": login, "password": password, "bearer": True})
    client.keep_session(answer.pop("session"))
    context.show({k: answer[k] for k in ("name", "unit", "functions", "expires_ms") if k in answer})
