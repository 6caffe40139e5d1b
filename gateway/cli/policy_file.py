"""A policy as a file: how many months each class keeps, compared with what the node does, foreseen, and set.

    [classes.key]
    months = 4
    legal_basis = "市令 5"    # above the ceiling

Classes that the file does not name stay as they are. The node judges every change, as it judges `retention set`.

Belongs here: reading, comparing, the order of calls. Does not belong here: what is allowed (`storage.classes`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.cli import client
from gateway.cli.files import read_text

_KEYS = frozenset({"months", "legal_basis"})
_MOST_MONTHS = 1_200
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """One class of the file."""

    class_name: str
    months: int
    legal_basis: str | None


def read(path: Path) -> list[Wanted]:
    """In the order of the file. Raises cli.file_not_text, cli.policy_malformed."""
    try:
        raw = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as exc:
        raise _malformed(path, exc) from exc
    classes = raw.pop("classes", None)
    if raw or not isinstance(classes, dict) or not classes:
        raise _malformed(path, next(iter(raw), "classes"))
    found = []
    for name, table in classes.items():
        if not isinstance(table, dict):
            raise _malformed(path, f"classes.{name}")
        found.append(_wanted(path, name, table))
    return found


def _wanted(path: Path, name: str, table: Mapping[str, Any]) -> Wanted:
    for key in table:
        if key not in _KEYS:
            raise _malformed(path, f"classes.{name}.{key}")
    months, basis = table.get("months"), table.get("legal_basis")
    if not isinstance(months, int) or isinstance(months, bool) or not 0 <= months <= _MOST_MONTHS:
        raise _malformed(path, f"classes.{name}.months")
    if basis is not None and (not isinstance(basis, str) or len(basis) > _MOST_LETTERS):
        raise _malformed(path, f"classes.{name}.legal_basis")
    return Wanted(name, months, basis)


def _malformed(path: Path, problem: object) -> TiergateError:
    return TiergateError(Kind.INVALID, "cli.policy_malformed", path=path, problem=problem)


def foresee(wanted: list[Wanted]) -> list[dict[str, Any]]:
    """Of each class that would change: from what to what, what more would go if it were so now, whether it is refused
    and who must agree. Each by itself."""
    known = {row["name"]: row for row in client.get("/retention")["classes"]}
    found = []
    standing: dict[str, Any] | None = None
    for one in wanted:
        row = known.get(one.class_name)
        if row is not None and _is_so(row, one):
            continue
        waiting = row and row["pending"]
        item = {
            "class": one.class_name,
            "from_months": row and row["months"],
            "waiting_months": waiting and waiting["months"],
            "months": one.months,
            "legal_basis": one.legal_basis,
            "remove_segments": None,
            "remove_bytes": None,
            "refused": _not_changeable(one, row, known),
            "needs": None,
            "outcome": None,
        }
        if item["refused"] is None:
            standing = standing or client.get("/retention/plan")["total"]
            change = {"class": one.class_name, "months": one.months, "legal_basis": one.legal_basis}
            plan = client.get("/retention/plan", **change)
            for name in ("remove_segments", "remove_bytes"):
                item[name] = plan["total"][name] - standing[name]
            item |= {"refused": plan["change_refused"], "needs": plan["change_needs"]}
        found.append(item)
    return found


def _is_so(row: Mapping[str, Any], one: Wanted) -> bool:
    """Also by a change that waits: the latest word counts."""
    last: int | None = row["months"] if row["pending"] is None else row["pending"]["months"]
    return last == one.months


def _not_changeable(one: Wanted, row: Mapping[str, Any] | None, known: Mapping[str, Any]) -> dict[str, Any] | None:
    if row is None:
        names = ", ".join(name for name, other in known.items() if not other["for_hold"])
        return Reason("retention.class_unknown", {"class": one.class_name, "known": names}).as_json()
    if row["for_hold"] or row["months"] is None:
        return Reason("retention.class_fixed", {"class": one.class_name}).as_json()
    return None


def carry_out(items: list[dict[str, Any]]) -> bool:
    """Sets the classes one after another, as `retention set` does: at once, after a week, or after a second person.

    Whether the node took all of them; `outcome` says of each what became of it.
    """
    whole = True
    for item in items:
        body = {"months": item["months"], "legal_basis": item["legal_basis"]}
        try:
            item["outcome"] = client.put(f"/retention/{client.part(item['class'])}", body)["reason"]
        except TiergateError as error:
            item["outcome"] = error.reason.as_json()
            whole = False
    return whole
