"""What a person sees in a list, as the id that the node wants.

Belongs here: which lists there are, by which columns people know what stands in them, and the refusal of a name that
nothing or more than one thing has. The node itself takes ids alone. Whoever may not see the list is not helped by it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from config.errors import Kind, TiergateError
from config.ids import ULID_PATTERN
from config.names import hides_something, nearest
from gateway.cli import client

_MOST_CHARACTERS = 120  #: no name has more
_MOST_CANDIDATES = 10
_CAMERA_ID = re.compile(r"[0-9]{20}")
_REGION_CODE = re.compile(r"[0-9]{2,12}")
_SESSION_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Noun:
    """One kind of thing: where it is listed, and what it is called there."""

    word: tuple[str, str]  #: English, Chinese
    path: str
    command: str  #: that shows the list
    columns: tuple[str, ...]  #: by which people know one
    id: str = "id"
    shape: re.Pattern[str] = ULID_PATTERN  #: what looks so is an id already, and no list is asked
    query: Mapping[str, Any] = field(default_factory=dict)
    search: str | None = None  #: parameter by which the node looks for a name in a long list
    counts: Callable[[Mapping[str, Any]], bool] = lambda row: True  #: of rows that are over, none is meant


NOUNS = {
    "approval": Noun(("approval", "批准单"), "/approvals", "approval list", ("id",), query={"state": "pending"}),
    "area": Noun(("area", "区域"), "/areas", "area list", ("name",)),
    "camera": Noun(
        ("camera", "摄像机"), "/cameras", "camera list --scope all", ("name",), shape=_CAMERA_ID, search="q",
        query={"scope": "all"},
    ),
    "own camera": Noun(
        ("camera", "摄像机"), "/cameras", "camera list", ("name",), shape=_CAMERA_ID, search="q", query={"scope": "own"}
    ),
    "lower camera": Noun(
        ("lower-tier camera", "下级摄像机"), "/cameras", "camera list --scope lower", ("name",), shape=_CAMERA_ID,
        search="q", query={"scope": "lower"},
    ),
    "department": Noun(("department", "部门"), "/departments", "department list", ("name",)),
    "grant": Noun(("grant", "授权"), "/grants", "grant list", ("id",)),
    "hold": Noun(("hold", "保全令"), "/holds", "hold list", ("case_no",)),
    "incident": Noun(("incident", "事件"), "/incidents", "incident list", ("number",)),
    "lease": Noun(("lease", "调阅许可"), "/leases", "lease list --active", ("case_no",), query={"active": True}),
    "link": Noun(("link", "链路"), "/links", "link list", ("peer_name",)),
    "pull": Noun(("pull", "调阅"), "/pulls", "pull list", ("case_no",)),
    "region": Noun(("region", "区划"), "/regions", "region list", ("name",), id="code", shape=_REGION_CODE),
    "seal": Noun(("seal", "封存权限"), "/break-glass", "break-glass list", ("id",)),
    "session": Noun(("session", "会话"), "/sessions", "session list", ("login", "name"), shape=_SESSION_ID),
    "shift": Noun(
        ("shift", "值班"), "/shifts", "shift list --running", ("wall", "person", "login"), query={"running": True}
    ),
    "stream password": Noun(
        ("stream password", "取流口令"), "/stream-passwords", "stream-password list", ("label",),
        counts=lambda row: row.get("state") == "valid",
    ),
    "token": Noun(
        ("token", "令牌"), "/tokens", "token list", ("label",), id="jti",
        counts=lambda row: row.get("state") == "valid",
    ),
    "user": Noun(("user", "用户"), "/users", "user list", ("login", "name")),
}  # fmt: skip


def one(kind: str, given: str) -> str:
    """The id of the one that is called `given`, or `given` itself where it is an id.

    Raises cli.name_unknown with the nearest names, cli.name_ambiguous with the candidates. Where the caller may not
    see the list, `given` goes to the node as it is, whose refusal says so.
    """
    noun = NOUNS[kind]
    if noun.shape.fullmatch(given):
        return given
    if not given.strip() or len(given) > _MOST_CHARACTERS or hides_something(given):
        raise TiergateError(Kind.NOT_FOUND, "access.not_found")
    try:
        found = _called(noun, given, _rows(noun, given))
        if not found:
            raise _unknown(noun, given)
    except client.ApiError as error:
        if error.kind is Kind.FORBIDDEN:
            return given
        raise
    if len(found) > 1:
        shown = [_described(noun, row) for row in found[:_MOST_CANDIDATES]]
        more = ["…"] if len(found) > _MOST_CANDIDATES else []
        raise TiergateError(
            Kind.INVALID, "cli.name_ambiguous", given=given, count=len(found), noun=_word(noun),
            candidates=", ".join([*shown, *more]),
        )  # fmt: skip
    return str(found[0][noun.id])


def maybe(kind: str, given: str | None) -> str | None:
    """`one`, of what need not be given."""
    return None if given is None else one(kind, given)


def each(kind: str, given: Iterable[str] | None) -> list[str]:
    """`one`, of each."""
    return [one(kind, name) for name in given or ()]


def at(kind: str, given: str) -> str:
    """The path of that one. Raises as `one`."""
    return f"{NOUNS[kind].path}/{client.part(one(kind, given))}"


def _rows(noun: Noun, given: str | None) -> list[dict[str, Any]]:
    search = {noun.search: given[:100]} if noun.search is not None and given is not None else {}
    rows: list[dict[str, Any]] = client.everything(noun.path, **noun.query, **search)["items"]
    return [row for row in rows if noun.counts(row)]


def _called(noun: Noun, given: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As written; only where nothing is, whatever differs in upper and lower case alone."""
    exact = [row for row in rows if given in _names(noun, row)]
    folded = given.strip().casefold()
    return exact or [row for row in rows if folded in {name.casefold() for name in _names(noun, row)}]


def _names(noun: Noun, row: Mapping[str, Any]) -> list[str]:
    return [str(row[name]) for name in dict.fromkeys((noun.id, *noun.columns)) if row.get(name)]


def _unknown(noun: Noun, given: str) -> TiergateError:
    rows = nearest(given, _rows(noun, None), lambda row: _names(noun, row))
    names = ", ".join(dict.fromkeys(str(row[noun.columns[0]]) for row in rows if row.get(noun.columns[0])))
    return TiergateError(
        Kind.NOT_FOUND, "cli.name_unknown", given=given, noun=_word(noun), command=noun.command,
        near=names or {"en": "none", "zh": "无"},
    )  # fmt: skip


def _described(noun: Noun, row: Mapping[str, Any]) -> str:
    names = ", ".join(str(row[name]) for name in noun.columns if row.get(name))
    return f"{row[noun.id]} ({names})"


def _word(noun: Noun) -> dict[str, str]:
    return {"en": noun.word[0], "zh": noun.word[1]}
