"""`tiergate login`: the session under which later commands run."""

from __future__ import annotations

import os
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
        bool,
        typer.Option(
            "--password-stdin",
            help="Read the password from standard input; a second line is the new one, if it must be changed.",
        ),
    ] = False,
) -> None:
    password = read_password(password_stdin, context.words("Password", "密码"))
    client.require_place_for_sessions()  # else the sign-in would stand open on the node, and nobody could end it
    answer = client.post("/session", {"login": login, "password": password, "bearer": True})
    client.keep_session(answer.pop("session"))
    if answer.get("must_change"):
        _change_first(password, password_stdin)
    context.show({k: answer[k] for k in ("name", "unit", "functions", "expires_ms") if k in answer})


def _change_first(old: str, from_stdin: bool) -> None:
    """Nothing else may be done before. Where no new password is given, a line says so: the sign-in itself stands."""
    if from_stdin or not sys.stdin.isatty():
        fresh = sys.stdin.readline().rstrip("\n")
    else:
        prompt = context.words("The first password must be changed. New password", "须修改初始密码。新密码")
        fresh = typer.prompt(prompt, hide_input=True, confirmation_prompt=True)
    if not fresh or os.environ.get("TIERGATE_TOKEN"):  # with that, whatever is asked is asked in its name
        context.note(
            "The first password must still be changed: run this command at a terminal, or sign in at the page.",
            "初始密码尚未修改：请在终端运行本命令，或在网页登录后修改。",
        )
        return
    client.post("/session/password", {"old": old, "new": fresh})
    context.note("password changed", "密码已修改")
