"""Reasons: a code with parameters, and the one table of their words in Chinese and English. (pure)

Belongs here: every sentence that tiergate says about a decision, a failure or a state. API, command line, page, log
and audit all take their words from `text`. Does not belong here: labels of the page (``gateway/web/page/i18n.js``).

The table is written in one file per room, merged here; a code that stands twice, or lacks a language, or whose two
languages name different parameters, refuses to import.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from config.reasons import (
    access,
    approval,
    backup,
    camera,
    cli,
    common,
    device,
    media,
    ops,
    retention,
    tier,
    viewing,
    web,
)

Language = Literal["en", "zh"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is so. `code` is stable and machine-readable; `params` fill the sentence."""

    code: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.code not in TABLE:
            raise KeyError(f"reason code {self.code!r} has no words in config/reasons")

    def as_json(self) -> dict[str, Any]:
        """The shape every interface uses: code, params and both sentences."""
        return {
            "code": self.code,
            "params": {k: _plain(v) for k, v in self.params.items()},
            "en": text(self, "en"),
            "zh": text(self, "zh"),
        }


def _plain(value: Any) -> Any:
    if isinstance(value, Reason):
        return value.as_json()
    if isinstance(value, Mapping) and {"en", "zh"} <= value.keys():
        return dict(value)
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


class _Missing(dict[str, Any]):
    """A parameter nobody gave shows as its name: a poor sentence is better than a crash while reporting one."""

    def __missing__(self, key: str) -> str:
        return "{" + key + "}"


def text(reason: Reason, language: Language) -> str:
    """The sentence for `reason` in `language`."""
    template = TABLE[reason.code][0 if language == "en" else 1]
    return template.format_map(_Missing({name: _said(value, language) for name, value in reason.params.items()}))


def _said(value: Any, language: Language) -> Any:
    """A reason inside a reason (or its JSON, read back from a row or an answer) speaks the same language."""
    if isinstance(value, Reason):
        value = text(value, language)
    elif isinstance(value, Mapping) and language in value:
        value = str(value[language])
    else:
        return value
    return value.rstrip(".。")


def parameter_names(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(template) if name)


def _merge(*parts: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    merged: dict[str, tuple[str, str]] = {}
    for part in parts:
        for code, (en, zh) in part.items():
            if code in merged:
                raise ValueError(f"reason code {code!r} stands twice")
            if not en or not zh or parameter_names(en) != parameter_names(zh):
                raise ValueError(f"reason code {code!r}: both languages must exist and name the same parameters")
            merged[code] = (en, zh)
    return merged


#: code -> (English, Chinese)
TABLE: dict[str, tuple[str, str]] = _merge(
    common.WORDS,
    backup.WORDS,
    cli.WORDS,
    camera.WORDS,
    device.WORDS,
    media.WORDS,
    ops.WORDS,
    retention.WORDS,
    access.WORDS,
    approval.WORDS,
    tier.WORDS,
    viewing.WORDS,
    web.WORDS,
)
