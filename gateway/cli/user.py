"""`tiergate user`: people who sign in. `reset-password` works on files, for the day nobody can sign in."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context
from gateway.cli.login import read_password

app = typer.Typer()


@app.command("list", help="All users.")
def list_() -> None:
    columns = [
        "id", "login", "name", "department", "posted_unit", "posted_until_ms", "roles", "wall", "on_duty",
        "disabled_ms",
    ]  # fmt: skip
    context.show(client.everything("/users"), columns)


@app.command(help="Add a person, who must change the first password at first sign-in; or a shared wall.")
def add(
    login: Annotated[str, typer.Argument(help="Login name.")],
    name: Annotated[str, typer.Option(help="The person's name, as it stands in the register.")],
    role: Annotated[list[str], typer.Option(help="Role; may be given again.")],
    department: Annotated[str | None, typer.Option(help="Department id.")] = None,
    wall: Annotated[
        bool,
        typer.Option(
            "--wall",
            help="No person: the shared account of a wall of screens; it shows nothing while nobody is on duty there.",
        ),
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    password = read_password(password_stdin, "First password")
    body: dict[str, object] = {
        "login": login,
        "name": name,
        "roles": role,
        "department_id": department,
        "password": password,
    }
    if wall:
        body["wall"] = True
    context.show(client.post("/users", body))


@app.command(help="Change name, roles or department, or disable.")
def change(
    user: Annotated[str, typer.Argument(help="User id.")],
    name: Annotated[str | None, typer.Option()] = None,
    role: Annotated[list[str] | None, typer.Option(help="New set of roles.")] = None,
    disable: Annotated[bool, typer.Option("--disable")] = False,
) -> None:
    body = {"name": name, "roles": role or None, "disabled": True if disable else None}
    context.show(client.patch(f"/users/{client.part(user)}", {k: v for k, v in body.items() if v is not None}))


@app.command(help="Post a person to another department for a time: they may what both units may. No --to ends it.")
def post(
    user: Annotated[str, typer.Argument(help="User id.")],
    to: Annotated[str | None, typer.Option("--to", help="Department id.")] = None,
    until: Annotated[str | None, typer.Option("--until", help="When the posting ends.")] = None,
) -> None:
    context.show(client.patch(f"/users/{client.part(user)}", {"posted_to": to, "posted_until": until}))


@app.command(
    "reset-password", help="Set a password on this machine's files; audited as the login of the operating system."
)
def reset_password(
    login: Annotated[str, typer.Argument(help="Login name.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    from gateway.cli import offline

    offline.reset_password(context.settings(), login, read_password(password_stdin, "New password"))
    context.say("password set; sessions of this user have ended", "密码已重设，该用户的会话已结束")
