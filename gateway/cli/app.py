"""Puts the nouns together and turns failures into one sentence and an exit code."""

from __future__ import annotations

import importlib
import itertools
import os
import pwd
import re
import sys
from collections.abc import Sequence
from typing import Any

import typer

from config.errors import Kind, TiergateError
from config.names import nearest
from config.reasons import TABLE, parameter_names
from gateway import __version__
from gateway.cli import context

#: word on the command line -> (module under gateway.cli, help). A module offers `app` (a group) or `command` (a single
#: command).
NOUNS: dict[str, tuple[str, str]] = {
    "init": ("init", "Set up a node: settings, keys, catalog, first user."),
    "serve": ("serve", "Run the node."),
    "backup": ("backup", "Write keys, settings and catalog into one encrypted file; or check one."),
    "restore": ("restore", "Make the node of a backup on this machine."),
    "upgrade": ("upgrade", "Bring the catalog to this version."),
    "secrets": ("secrets", "The key that seals cameras' accounts."),
    "doctor": ("doctor", "Say what is wrong and what to do next."),
    "alarm": ("alarm", "What stands wrong, and who is told."),
    "login": ("login", "Sign in; later commands run as this user."),
    "logout": ("logout", "End the session of `login`."),
    "region": ("region", "Regions of the four tiers."),
    "department": ("department", "Departments that footage is shared with."),
    "user": ("user", "People who sign in."),
    "camera": ("camera", "Cameras: register, probe, change."),
    "area": ("area", "Key places and their retention class."),
    "grant": ("grant", "Rights of users, roles and departments."),
    "stream-password": ("stream_password", "What software that knows no token reads live streams with, over RTSP."),
    "token": ("token", "Scoped tokens for departments."),
    "retention": ("retention", "How long footage stays, and why."),
    "approval": ("approval", "What waits for a second person."),
    "session": ("session", "Who is signed in, and ending that."),
    "shift": ("shift", "Who is on duty at which shared wall."),
    "break-glass": ("break_glass", "Rights in a sealed envelope, for the night when who may is not there."),
    "hold": ("hold", "Orders that footage stays."),
    "link": ("link", "Pairing with nodes above and below."),
    "lease": ("lease", "What upper nodes may watch here, and what we may watch below."),
    "pull": ("pull", "Pull a lower node's video under a mechanism."),
    "incident": ("incident", "Incidents: number, place, time, cameras."),
    "audit": ("audit", "Who did what: tail, verify, export."),
    "store": ("store", "Check the store against the catalog; rebuild the catalog from the store."),
    "report": ("report", "Coverage, gaps and reach of footage; use of it; its impact on people."),
    "clip": ("clip", "Save a stretch of footage to a file."),
    "export": ("export", "Evidence packages: made, judged, and the key they are signed with."),
}


def build(only: str | None = None) -> typer.Typer:
    """The command tree; with `only`, just that noun (quick start-up)."""
    root = typer.Typer(
        name="tiergate",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Video-surveillance sharing and retention gateway of one governance centre.",
        epilog="Anywhere on the line: --config FILE, --url URL of another node, --json, --lang en|zh. Or: --version.",
    )

    @root.callback()
    def _root() -> None:
        """Keeps the tree a group even while only one noun is loaded."""

    for word, (module_name, help_text) in NOUNS.items():
        if only is not None and word != only:
            continue
        module = importlib.import_module(f"gateway.cli.{module_name}")
        if hasattr(module, "app"):
            root.add_typer(module.app, name=word, help=help_text, short_help=help_text, no_args_is_help=True)
            for command in module.app.registered_commands:
                command.short_help = _first_sentence(command.help or "")
        else:
            root.command(name=word, help=help_text, short_help=help_text)(module.command)
    return root


def _first_sentence(help_text: str) -> str:
    """What a list of commands says of one. The library would cut it off after some forty characters."""
    return re.split(r"(?<=[.?!])\s+(?=[A-Z`-])", help_text, maxsplit=1)[0]


def run(argv: Sequence[str]) -> int:
    found, rest = context.split_globals(argv)
    for name in ("config", "url", "json", "language"):
        setattr(context.GLOBALS, name, getattr(found, name))
    if rest == ["--version"]:
        print(f"tiergate {__version__}")
        return 0
    if found.problem is not None:
        return context.fail(found.problem)
    only = rest[0] if rest and rest[0] in NOUNS else None
    try:
        result = build(only)(args=rest, prog_name="tiergate", standalone_mode=False)
    except TiergateError as error:
        return context.fail(error)
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except typer.Exit as error:
        return int(error.exit_code)
    except BrokenPipeError:  # `tiergate audit tail | head`: whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own usage errors
            return _misused(error, rest)
        if isinstance(error, OSError) and error.filename is not None:
            return context.fail(_of_system(error))
        if os.environ.get("TIERGATE_DEBUG"):
            raise
        if type(error).__module__ == "sqlalchemy.exc" and hasattr(error, "connection_invalidated"):
            return context.fail(TiergateError(Kind.UNAVAILABLE, "ops.catalog_away", problem=type(error).__name__))
        return context.fail(TiergateError(Kind.ENVIRONMENT, "cli.defect", problem=type(error).__name__))
    return result if isinstance(result, int) else 0


def _of_system(error: OSError) -> TiergateError:
    """A file or folder that the machine refuses; most often because the node is another user's."""
    path = os.fsdecode(error.filename)
    if isinstance(error, PermissionError):
        return TiergateError(Kind.ENVIRONMENT, "cli.not_permitted", path=path, user=_user())
    return TiergateError(Kind.ENVIRONMENT, "cli.os", path=path, problem=error.strerror or type(error).__name__)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container may run as a number that nobody has named
        return str(os.geteuid())


def _misused(error: Any, rest: Sequence[str]) -> int:
    """typer's complaint as one of our sentences; a line without any command is answered by the help itself."""
    at = getattr(error, "ctx", None)
    command = getattr(at, "command_path", None) or " ".join(["tiergate", *_command_in(rest)])
    kind, problem = type(error).__name__, str(error.format_message()).strip().rstrip(".")
    if kind == "NoArgsIsHelpError":
        print(error.format_message() if at is None else at.get_help(), file=sys.stderr)
        return 2
    unknown = re.match(r"No such command (['\"])(.*?)\1(?:\.|$)", problem)
    if unknown is not None:
        known = getattr(getattr(at, "command", None), "commands", {})
        near = ", ".join(nearest(unknown[2], known, lambda name: (name,), most=3))
        said = {"given": unknown[2], "near": near or {"en": "none", "zh": "无"}, "command": command}
        return context.fail(TiergateError(Kind.INVALID, "cli.command_unknown", **said))
    option = getattr(error, "option_name", None) or _name_of(getattr(error, "param", None))
    if kind == "NoSuchOption":
        code = "cli.option_unknown"
    elif kind == "MissingParameter" and option:
        code = "cli.option_missing"
    elif kind == "BadOptionUsage" and option:
        code = "cli.option_empty"
    elif kind == "BadParameter" and option:
        code, problem = "cli.option_bad", str(error.message).strip().rstrip(".")
    else:
        code = "cli.usage_bad"
    found = {"option": option, "problem": problem, "command": command}
    words = {name: found[name] for name in parameter_names(TABLE[code][0])}
    return context.fail(TiergateError(Kind.INVALID, code, **words))


def _command_in(rest: Sequence[str]) -> list[str]:
    """The words of the line that name the command, as far as they do."""
    if not rest or rest[0] not in NOUNS:
        return []
    group = hasattr(importlib.import_module(f"gateway.cli.{NOUNS[rest[0]][0]}"), "app")
    return list(itertools.takewhile(lambda word: not word.startswith("-"), rest[: 2 if group else 1]))


def _name_of(param: Any) -> str:
    """As it is written on the line: `--from`, or the name of an argument."""
    options = [o for o in getattr(param, "opts", ()) if o.startswith("-")]
    return max(options, key=len) if options else str(getattr(param, "name", None) or "").rstrip("_").upper()
