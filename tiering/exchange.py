"""Exchange rules: in which way footage of a grade and nature may cross to a peer; a missing rule is `none`. (pure)

`grade` comes from the camera (`ordinary`, or `restricted` for secrecy above 0), `nature` is `video` or `metadata`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Mode = Literal["front_end", "one_way_in", "one_way_out", "platform", "none"]
MODES: frozenset[str] = frozenset({"front_end", "one_way_in", "one_way_out", "platform", "none"})

ORDINARY, RESTRICTED = "ordinary", "restricted"
VIDEO, METADATA = "video", "metadata"

#: What two nodes agree on by pairing: ordinary cameras, platform to platform. Anything else somebody must write down.
PAIRING_RULES: tuple[tuple[str, str, Mode], ...] = ((ORDINARY, VIDEO, "platform"), (ORDINARY, METADATA, "platform"))

Rules = Mapping[tuple[str, str], str]  #: (grade, nature) -> mode, of one peer


def grade_of(secrecy: int) -> str:
    return ORDINARY if secrecy == 0 else RESTRICTED


def mode_of(rules: Rules, grade: str, nature: str) -> str:
    mode = rules.get((grade, nature), "none")
    return mode if mode in MODES else "none"


def may_leave(rules: Rules, grade: str, nature: str) -> bool:
    """Whether we may send to this peer."""
    return mode_of(rules, grade, nature) in ("platform", "one_way_out")


def may_enter(rules: Rules, grade: str, nature: str) -> bool:
    """Whether we may take from this peer."""
    return mode_of(rules, grade, nature) in ("platform", "one_way_in")
