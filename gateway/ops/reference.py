"""Writes the reference pages of ``docs/reference/`` from the code that they describe.

`scripts/docs` runs it; a test fails when a page differs from what the code says, so settings, commands, reasons and
routes cannot be undocumented. Prose belongs into the other files of ``docs/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main
from pydantic import BaseModel

from config.reasons import TABLE
from config.settings import SecretText, Settings

_HEAD = "<!-- written by scripts/docs; edit the code, not this page -->\n\n"


def settings_page() -> str:
    lines = [
        _HEAD + "# Settings\n",
        "`tiergate.toml`, one table per section. Environment: `TIERGATE_<SECTION>__<KEY>` wins over the file; "
        "`…__<KEY>_FILE` reads the value from that file. Unknown keys are refused.\n",
    ]
    for section, field in Settings.model_fields.items():
        model = field.annotation
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            raise TypeError(f"settings section {section} is not a table")
        lines += [f"\n## [{section}]\n", "| key | default | meaning |", "|---|---|---|"]
        for name, key in model.model_fields.items():
            default = "(secret)" if key.annotation is SecretText else _plain(key.default)
            lines.append(f"| `{name}` | `{default}` | {key.description or ''} |")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, Path):
        return str(value)
    if type(value).__name__ == "Secret":
        return "(secret)"
    return json.dumps(value, ensure_ascii=False)


def commands_page() -> str:
    from gateway.cli.app import build

    root = typer.main.get_command(build())
    lines = [_HEAD + "# Commands\n"]
    lines.append("Anywhere on the line: `--config FILE`, `--url URL`, `--json`, `--lang en|zh`.")
    lines.append("Exit: 0 done · 1 refused or found · 2 usage · 3 environment · 4 not signed in.\n")
    for path, command in _walk(root, ""):
        lines.append(f"\n## `tiergate {path}`\n\n{(command.help or '').strip()}\n")
        for parameter in command.params:
            if parameter.name == "help":
                continue
            if parameter.param_type_name == "option":
                shown = [*parameter.opts, *parameter.secondary_opts]
            else:
                shown = [parameter.metavar or parameter.name.upper()]
            name = " ".join(f"`{word}`" for word in shown)
            lines.append(f"- {name} {getattr(parameter, 'help', None) or ''}".rstrip())
    return "\n".join(lines) + "\n"


def _walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, child in sorted(getattr(command, "commands", {}).items()):
        here = f"{path} {name}".strip()
        if hasattr(child, "commands"):
            yield from _walk(child, here)
        else:
            yield here, child


def reasons_page() -> str:
    lines = [_HEAD + "# Reason codes\n", "| code | English | 中文 |", "|---|---|---|"]
    lines += [f"| `{code}` | {en} | {zh} |" for code, (en, zh) in sorted(TABLE.items())]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Names and help from a scrape of an empty catalog: a metric without a sample still says what it is."""
    from gateway.ops import doctor, metrics
    from storage.catalog.engine import Catalog
    from storage.catalog.tables import metadata

    catalog = Catalog("sqlite://")
    try:
        catalog.write(metadata.create_all)
        found = catalog.read(lambda c: metrics.read_facts(c, Settings(), 0))
    finally:
        catalog.close()
    found += [
        *metrics.disks(Settings()),
        metrics.looks_running(None),
        metrics.requests_refused({}),
        *metrics.rtsp(0, 0, {}, 0, 0),
    ]
    lines = [
        _HEAD + "# Metrics\n",
        "`/metrics`, SI units. What is not known is absent, never 0. *doctor*: the check of `tiergate doctor` that",
        "says in one line why a metric is red, and what to do.\n",
        "| metric | labels | meaning | doctor |",
        "|---|---|---|---|",
    ]
    for metric in sorted(found, key=lambda m: m.name):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        check = doctor.METRICS.get(metric.name)
        lines.append(f"| `{metric.name}` | {labels} | {metric.help} | {check or '–'} |")
    return "\n".join(lines) + "\n"


PAGES = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "reasons.md": reasons_page,
    "metrics.md": metrics_page,
}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
