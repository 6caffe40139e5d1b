"""`tiergate user`: people who sign in. `reset-password`, `add-first` work on files, for the day nobody can sign in."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import client, context, named
from gateway.cli.login import read_password
from tiering.access import ROLES

app = typer.Typer()
_ROLES = ", ".join(ROLES)


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
    role: Annotated[list[str], typer.Option(help=f"One of {_ROLES}; may be given again.")],
    department: Annotated[str | None, typer.Option(help="Department, by name or id.")] = None,
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
    password = read_password(password_stdin, context.words("First password", "首个密码"))
    body: dict[str, object] = {
        "login": login,
        "name": name,
        "roles": role,
        "department_id": named.maybe("department", department),
        "password": password,
    }
    if wall:
        body["wall"] = True
    context.show(client.post("/users", body))


@app.command(help="Change name, roles or department, disable, or let sign in again.")
def change(
    user: Annotated[str, typer.Argument(help="Login, name or id.")],
    name: Annotated[str | None, typer.Option(help="New name, as it stands in the register.")] = None,
    role: Annotated[list[str] | None, typer.Option(help=f"New set of roles, of {_ROLES}.")] = None,
    department: Annotated[str | None, typer.Option(help="Department, by name or id.")] = None,
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Whether they may sign in.")] = None,
) -> None:
    unit = named.maybe("department", department)
    body = {"name": name, "roles": role or None, "department_id": unit, "disabled": disable}
    context.show(client.patch(named.at("user", user), {k: v for k, v in body.items() if v is not None}))


@app.command(help="Post a person to another department for a time: they may what both units may. No --to ends it.")
def post(
    user: Annotated[str, typer.Argument(help="Login, name or id.")],
    to: Annotated[str | None, typer.Option("--to", help="Department, by name or id.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="When the posting ends, as 2026-11-24T15:20:00+08:00.")
    ] = None,
) -> None:
    if to is not None and until is None:
        raise context.usage("Give --until: a posting ends within 366 days. / 请给出 --until：派驻期限最长 366 天。")
    context.show(
        client.patch(named.at("user", user), {"posted_to": named.maybe("department", to), "posted_until": until})
    )


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

    settings = context.settings()
    offline.reset_password(settings, login, read_password(password_stdin, context.words("New password", "新密码")))
    context.say("password set; sessions of this user have ended", "密码已重设，该用户的会话已结束")


@app.command(
    "add-first",
    help="Add an administrator where there is none, as after `store rebuild`: on this machine's files, as the node's "
    "own user, audited as the login of the operating system.",
)
def add_first(
    login: Annotated[str, typer.Argument(help="Login name.")],
    name: Annotated[str, typer.Option(help="The person's name, as it stands in the register.")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
) -> None:
    from gateway.cli import offline

    settings = context.settings()
    offline.check_first(login, name)
    password = read_password(password_stdin, context.words("First password", "首个密码"))
    made = offline.add_first(settings, login, name, password)
    context.show({"id": made.id, "login": made.login, "name": made.name, "roles": list(made.roles)})
