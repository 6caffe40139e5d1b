"""`tiergate backup`: one encrypted file that a lost machine can be made from; `--verify` reads one without using it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.errors import Kind, TiergateError
from config.redact import Secret
from gateway.cli import context

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="File that holds the passphrase; without it the setting, else it is asked for."),
]
_SETTING = "TIERGATE_BACKUP__PASSPHRASE"


def read_passphrase(file: Path | None, setting: Secret, repeat: bool) -> Secret:
    """From the file, the setting or its environment, the terminal without echo, or standard input; never from the
    command line. Raises backup.passphrase_missing."""
    if file is not None or (_SETTING not in os.environ and f"{_SETTING}_FILE" in os.environ and not setting):
        value = _first_line(file or Path(os.environ[f"{_SETTING}_FILE"]))
    elif setting or os.environ.get(_SETTING):
        return setting or Secret(os.environ[_SETTING])
    elif sys.stdin.isatty():
        value = str(
            typer.prompt(context.words("Passphrase", "口令"), hide_input=True, confirmation_prompt=repeat, err=True)
        )
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value:
        raise TiergateError(Kind.INVALID, "backup.passphrase_missing")
    return Secret(value)


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except OSError as exc:
        raise TiergateError(Kind.INVALID, "cli.file_unreadable", path=path) from exc
    except UnicodeDecodeError as exc:
        raise TiergateError(Kind.INVALID, "cli.file_not_text", path=path) from exc


def command(
    file: Annotated[Path, typer.Argument(help="New file; with --verify one that is there.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of FILE: whole, authentic, counted, its audit chain unbroken.")
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    from gateway.ops import backup_work
    from gateway.ops.actor import operator
    from storage import backup

    if verify:
        try:
            setting = context.settings().backup.passphrase
        except TiergateError:  # a backup may be looked at where no node is
            setting = Secret("")
        if not file.is_file():
            raise TiergateError(Kind.INVALID, "cli.file_unreadable", path=file)
        found = backup.verify(file, read_passphrase(passphrase_file, setting, repeat=False))
        context.show({"ok": True, **found.as_json()})
        return
    settings = context.settings()
    passphrase = read_passphrase(passphrase_file, settings.backup.passphrase, repeat=True)
    made = backup_work.back_up(settings, context.config_path(), file.absolute(), passphrase, operator())
    context.show({"file": str(file), "bytes": file.stat().st_size, **made.as_json()})
    context.say(
        "Keep the passphrase apart from the file. Footage is not in it: the store describes itself.",
        "请将口令与文件分开保管。备份不含录像：存储可自行描述其内容。",
    )
