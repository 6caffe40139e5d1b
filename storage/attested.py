"""What an owner attests of footage that its own recorder keeps, against what the class of the camera asks for. (pure)

A camera with ``recorded_by=owner`` is not stored a second time: the owner's unit says in a document how many days its
recorder keeps, and until when that holds. These are words; whether footage of so many days ago can really be had is not
asked here. The floor is the law's in days (Order 799 art. 17: 30 days, key areas 90), as recorders count.

Belongs here: the rule. Does not belong here: rows (`storage.catalog.attestations`), reading (`storage.reach_view`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from config.reasons import Reason
from config.units import DAY_MS, format_time_ms
from storage.classes import FLOOR_MONTHS, MIN_DAYS_PER_MONTH, RetentionClass

#: An attestation holds at most so long: recorders are changed and disks taken out.
LONGEST_MS = 366 * DAY_MS

State = Literal["attested", "lapsed", "short", "none"]


@dataclass(frozen=True, slots=True)
class Attestation:
    """How many days an owner's recorder keeps, as somebody answers for it."""

    id: str
    camera_id: str
    days: int  #: 0: it keeps nothing
    attested_by: str  #: who of the owner's unit answers for it
    document: str  #: number or name of the document that says so
    valid_until_ms: int
    made_ms: int  #: when it was entered here
    made_by: str  #: and by whom

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "camera_id": self.camera_id,
            "days": self.days,
            "attested_by": self.attested_by,
            "document": self.document,
            "valid_until_ms": self.valid_until_ms,
            "made_ms": self.made_ms,
            "made_by": self.made_by,
        }


@dataclass(frozen=True, slots=True)
class Standing:
    """How one camera stands that its owner records."""

    camera_id: str
    class_name: str
    floor_days: int
    state: State
    attestation: Attestation | None  #: the newest
    reason: Reason

    def as_json(self) -> dict[str, Any]:
        found = self.attestation
        return {
            "camera_id": self.camera_id,
            "class": self.class_name,
            "state": self.state,
            "floor_days": self.floor_days,
            "attested_days": found and found.days,
            "attested_by": found and found.attested_by,
            "document": found and found.document,
            "valid_until_ms": found and found.valid_until_ms,
            "reason": self.reason.as_json(),
        }


def floor_days(class_name: str) -> int:
    """The least that footage of a class is kept, in days; every class but the law's own has the default's."""
    return FLOOR_MONTHS.get(class_name, FLOOR_MONTHS["default"]) * MIN_DAYS_PER_MONTH


def judge_until(valid_until_ms: int, now_ms: int) -> Reason | None:
    """None when an attestation may end then; else why not."""
    if now_ms < valid_until_ms <= now_ms + LONGEST_MS:
        return None
    return Reason("retention.attest_until", {"limit_days": LONGEST_MS // DAY_MS})


def judge(camera_id: str, newest: Attestation | None, class_: RetentionClass, now_ms: int) -> Standing:
    """`class_`: the camera's of today. What has lapsed says nothing any more, however many days it named."""
    least = floor_days(class_.name)
    if newest is None:
        reason = Reason("retention.attested_none", {"floor_days": least})
        return Standing(camera_id, class_.name, least, "none", None, reason)
    told = {
        "days": newest.days,
        "by": newest.attested_by,
        "document": newest.document,
        "until": format_time_ms(newest.valid_until_ms, local=True),
    }
    state: State = "attested"
    if newest.valid_until_ms <= now_ms:
        state = "lapsed"
    elif newest.days < least:
        state = "short"
    code = "retention.attested" if state == "attested" else f"retention.attested_{state}"
    reason = Reason(code, told | ({"class": class_.name, "floor_days": least} if state == "short" else {}))
    return Standing(camera_id, class_.name, least, state, newest, reason)
