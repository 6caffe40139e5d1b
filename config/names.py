"""What a name may consist of, and which ones a mistyped one is like. (pure)

Names are typed by people, imported from lists, and shown to others on pages, terminals and in the register: nothing in
one may be invisible, steer a terminal or turn the writing round.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from typing import TypeVar

#: Zero-width joiners hold emoji and some scripts together; every other format character can disguise a name.
_JOINERS = "\u200c\u200d"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
Row = TypeVar("Row")


def hides_something(value: str) -> bool:
    """Whether `value` has control, format or line characters, or nothing visible although it is not empty."""
    if any(unicodedata.category(c) in _HIDDEN and c not in _JOINERS for c in value):
        return True
    return bool(value) and not value.strip(_JOINERS + " ")


def made_visible(value: str) -> str:
    """`value` for a terminal: line breaks stay, every other hidden character becomes U+FFFD."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in _HIDDEN else "\ufffd" for c in value)


def nearest(given: str, rows: Iterable[Row], names: Callable[[Row], Iterable[str]], most: int = 6) -> list[Row]:
    """Those of `rows` that whoever wrote `given` may have meant, the likeliest first; all of them when there are no
    more than `most`. `names` of a row are what it may be called by."""
    wanted = given.casefold()
    scored = [(max((_likeness(wanted, name.casefold()) for name in names(row)), default=0.0), row) for row in rows]
    scored.sort(key=lambda pair: -pair[0])
    return [row for score, row in scored[:most] if len(scored) <= most or score >= 0.5]


def _likeness(wanted: str, name: str) -> float:
    if not wanted or not name:
        return 0.0
    if wanted in name or name in wanted:
        return 1.0 + min(len(wanted), len(name)) / max(len(wanted), len(name))
    return SequenceMatcher(None, wanted, name, autojunk=False).ratio()
