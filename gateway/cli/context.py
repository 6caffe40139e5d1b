"""What every command shares: global options, settings, output as table or JSON.

The global options ``--config --url --json --lang`` may stand anywhere on the line: `split_globals` takes them out
before the commands see it, so that no command has to repeat them.
"""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from config.errors import Kind, TiergateError
from config.load import load, settings_path
from config.names import made_visible
from config.reasons import text
from config.settings import Settings
from config.units import format_time_ms


@dataclass(slots=True)
class Globals:
    config: str | None = None
    url: str | None = None
    json: bool = False
    language: Literal["en", "zh"] | None = None
    problem: TiergateError | None = None  #: what is wrong with the global options themselves


GLOBALS = Globals()  #: set once by `run`; one process is one command


def split_globals(argv: Sequence[str]) -> tuple[Globals, list[str]]:
    """(global options, the rest of the line)."""
    found, rest = Globals(), []
    arguments = list(argv)
    while arguments:
        head = arguments.pop(0)
        name, equals, value = head.partition("=")
        if head == "--":
            rest += [head, *arguments]
            break
        if head == "--json":
            found.json = True
        elif name in ("--config", "--url", "--lang"):
            value = value if equals else (arguments.pop(0) if arguments else "")
            if not value:
                found.problem = TiergateError(Kind.INVALID, "cli.option_missing", option=name, command="tiergate")
            elif name == "--config":
                found.config = value
            elif name == "--url":
                found.url = value
            elif value in ("en", "zh"):
                found.language = "zh" if value == "zh" else "en"
            else:
                found.problem = TiergateError(Kind.INVALID, "cli.option_choice", option=name, choices="en, zh")
        else:
            rest.append(head)
    return found, rest


def config_path() -> Path:
    """The settings file of the node on this machine. Raises cli.not_by_url: what asks for it works on that node's own
    files, and never on those of the node that ``--url`` names."""
    if GLOBALS.url is not None:
        raise TiergateError(Kind.INVALID, "cli.not_by_url")
    return settings_path(GLOBALS.config)


def settings() -> Settings:
    """The node's settings. Raises settings.file_missing and its kin."""
    return load(config_path())


def language() -> Literal["en", "zh"]:
    if GLOBALS.language:
        return GLOBALS.language
    try:
        return load(settings_path(GLOBALS.config)).node.language
    except (TiergateError, OSError):
        return "en"


def fail(error: TiergateError) -> int:
    """Prints the error as a sentence (or JSON) on stderr; returns its exit code."""
    if GLOBALS.json:
        print(json.dumps({"error": error.reason.as_json()}, ensure_ascii=False), file=sys.stderr)
    else:
        print(made_visible(text(error.reason, language())), file=sys.stderr)
    return error.exit_code


def within(option: str, least: float, most: float) -> Callable[[float], float]:
    """For a number on the line: refuses what lies outside, and what is no number (``nan``)."""

    def checked(value: float) -> float:
        if not least <= value <= most:
            raise TiergateError(Kind.INVALID, "cli.number", option=option, least=f"{least:g}", most=f"{most:g}")
        return value

    return checked


def usage(problem: str) -> TiergateError:
    return TiergateError(Kind.INVALID, "cli.usage", problem=problem)


def show(value: Any, columns: Sequence[str] | None = None) -> None:
    """`value` as JSON with ``--json``; else a list of objects as a table, an object as lines, a text as it is."""
    if GLOBALS.json:
        print(json.dumps(value, ensure_ascii=False, indent=2, default=str))
        return
    if isinstance(value, str):
        print(made_visible(value))
    elif isinstance(value, Mapping) and "items" in value:
        table(value["items"], columns)
    elif isinstance(value, Mapping):
        width = max((len(str(k)) for k in value), default=0)
        for key, item in value.items():
            print(f"{key:<{width}}  {made_visible(cell(key, item))}")
    elif isinstance(value, Iterable):
        table(list(value), columns)
    else:
        print(value)


def words(english: str, chinese: str) -> str:
    """Whichever the person reads."""
    return english if language() == "en" else chinese


def say(english: str, chinese: str) -> None:
    """A line for a person about what was done; silent with ``--json``, where the value speaks."""
    if not GLOBALS.json:
        print(words(english, chinese))


def note(english: str, chinese: str) -> None:
    """A line for a person beside what is shown: on stderr, so that ``--json`` stays whole."""
    print(made_visible(words(english, chinese)), file=sys.stderr)


def cell(key: str, value: Any) -> str:
    if value is None or value in ("", [], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key.endswith("_ms") and isinstance(value, int) and value > 10**11:
        return format_time_ms(value, local=True)
    if isinstance(value, Mapping) and {"en", "zh"} <= value.keys():
        return str(value[language()])
    if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int)) for v in value):
        return ", ".join(map(str, value))
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _width(value: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in value)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    """Rows as aligned columns; Chinese characters count double, as terminals draw them."""
    if not rows:
        say("nothing", "无")
        return
    names = list(columns or rows[0])
    cells = [names] + [[made_visible(cell(n, row.get(n))) for n in names] for row in rows]
    widths = [max(_width(line[i]) for line in cells) for i in range(len(names))]
    for line in cells:
        padded = (value + " " * (widths[i] - _width(value)) for i, value in enumerate(line))
        print("  ".join(padded).rstrip())
