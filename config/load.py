"""Reads settings: TOML file, then environment, into `config.settings.Settings`; and the text of such a file.

Environment names are ``TIERGATE_<SECTION>__<KEY>``; ``…_FILE`` reads the value from that file (secrets of systemd and
containers). The file is named by ``--config`` or ``TIERGATE_CONFIG``. The environment wins over the file.
"""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.errors import Kind, TiergateError
from config.settings import Settings, build

DEFAULT_FILE = Path("/etc/tiergate/tiergate.toml")
_PREFIX = "TIERGATE_"


def settings_path(argument: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    return Path(argument or environment.get("TIERGATE_CONFIG") or DEFAULT_FILE)


def load(path: Path, environment: Mapping[str, str] = os.environ) -> Settings:
    """Raises settings.file_missing, settings.file_unreadable, settings.unknown_key, settings.bad_value.

    Relative paths in the file are relative to the file, so that a whole node can be moved with its folder.
    """
    try:
        raw: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TiergateError(Kind.ENVIRONMENT, "settings.file_missing", path=path) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise TiergateError(Kind.ENVIRONMENT, "settings.file_unreadable", path=path, problem=str(exc)) from exc
    for name, value in environment.items():
        section, separator, key = name.removeprefix(_PREFIX).lower().partition("__")
        if not name.startswith(_PREFIX):
            continue
        if not separator:
            _refuse_half_a_name(name)
            continue
        if key.endswith("_file") and key not in ("ca_file", "test_file"):
            try:
                value = Path(value).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as exc:
                problem = exc.strerror if isinstance(exc, OSError) else "no text in UTF-8"
                raise TiergateError(Kind.ENVIRONMENT, "settings.file_unreadable", path=value, problem=problem) from exc
            key = key.removesuffix("_file")
        table = raw.setdefault(section, {})
        if isinstance(table, dict):
            table[key] = _listed(key, value)
    _resolve(raw, path.resolve().parent)
    return build(raw)


def _refuse_half_a_name(name: str) -> None:
    """``TIERGATE_WEB_LISTEN`` is meant as ``TIERGATE_WEB__LISTEN``, and would count for nothing."""
    section, _, key = name.removeprefix(_PREFIX).lower().partition("_")
    if key and section in Settings.model_fields:
        nearest = f"{_PREFIX}{section.upper()}__{key.upper()}"
        raise TiergateError(Kind.ENVIRONMENT, "settings.unknown_key", key=name, nearest=nearest)


def _listed(key: str, value: str) -> str | list[str]:
    """A list as one line: with commas, a command as a shell would read it."""
    if key == "command":
        return shlex.split(value)
    return value.split(",") if key in ("allowed_networks", "extra_spools") else value


_PATH_KEYS = {
    "paths": ("data", "spool", "extra_spools", "evidence_dir"),
    "clips": ("font",),
    "alarms": ("ca_file",),
    "store": ("folder", "ca_file"),
    "backup": ("folder",),
    "web": ("tls_cert", "tls_key"),
    "relay": ("tls_cert", "tls_key"),
    "clock": ("test_file",),
}


def _resolve(raw: dict[str, Any], base: Path) -> None:
    for section, keys in _PATH_KEYS.items():
        table = raw.get(section)
        if isinstance(table, dict):
            for key in keys:
                value = table.get(key)
                if isinstance(value, str):
                    table[key] = str(base / value)
                elif isinstance(value, list):
                    table[key] = [str(base / one) if isinstance(one, str) else one for one in value]


def toml(tables: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a settings file with these values, by section."""
    lines = ["# tiergate settings: docs/reference/settings.md lists every key. Unknown keys are refused.", ""]
    for section, values in tables.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
        lines.append("")
    return "\n".join(lines)
