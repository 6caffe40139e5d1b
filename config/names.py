"""What a name may consist of. (pure)

Names are typed by people, imported from lists, and shown to others on pages, terminals and in the register: nothing in
one may be invisible, steer a terminal or turn the writing round.
"""

from __future__ import annotations

import unicodedata

#: Zero-width joiners hold emoji and some scripts together; every other format character can disguise a name.
_JOINERS = "\u200c\u200d"
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def hides_something(value: str) -> bool:
    """Whether `value` has control, format or line characters, or nothing visible although it is not empty."""
    if any(unicodedata.category(c) in _HIDDEN and c not in _JOINERS for c in value):
        return True
    return bool(value) and not value.strip(_JOINERS + " ")


def made_visible(value: str) -> str:
    """`value` for a terminal: line breaks stay, every other hidden character becomes U+FFFD."""
    return "".join(c if c == "\n" or unicodedata.category(c) not in _HIDDEN else "\ufffd" for c in value)
