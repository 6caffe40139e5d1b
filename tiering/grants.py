"""Shapes of permission: functions, resources, conditions, grants, principals, roles, and their JSON. (pure)

Belongs here: what a grant is and how two of them intersect. Does not belong here: the decision (`tiering.access`).
A grant's JSON is what tables and tokens carry; an unknown key is refused, never ignored: a condition we do not
understand must not become no condition.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, TypeGuard

from config.errors import Kind, TiergateError
from config.weekly import WeeklyWindow, week_end_ms

Stream = Literal["main", "sub"]


class Function(StrEnum):
    LIVE = "live"
    PLAYBACK = "playback"
    SNAPSHOT = "snapshot"
    EXPORT = "export"
    PTZ = "ptz"
    TALK = "talk"
    STATUS = "status"
    CATALOG = "catalog"
    HOLD = "hold"
    MANAGE = "manage"


#: Functions that show, fetch or steer pictures; purposes and `max_stream` speak about these.
MEDIA = frozenset({Function.LIVE, Function.PLAYBACK, Function.SNAPSHOT, Function.EXPORT, Function.PTZ, Function.TALK})

#: Functions by which a picture stays open; `max_streams` counts these. A still or a turn of the camera is over at once.
STREAMS = frozenset({Function.LIVE, Function.PLAYBACK, Function.EXPORT})

#: All that is done on a shared wall: looking, and steering what one looks at. Nothing leaves the room by it.
ON_WALLS = frozenset({Function.LIVE, Function.PLAYBACK, Function.PTZ, Function.STATUS, Function.CATALOG})

#: Closed list (PIPL art. 6): there is no purpose beyond these.
PURPOSES = (
    "daily_watch",
    "emergency",
    "supervision_check",
    "incident_review",
    "evidence",
    "person_request",
    "maintenance",
    "drill",
)


def lower_stream(a: Stream, b: Stream) -> Stream:
    return "main" if a == b == "main" else "sub"


@dataclass(frozen=True, slots=True)
class LeaseFact:
    """What `decide` needs to know of one running or past lease."""

    id: str
    side: Literal["granted", "held"]  #: granted: we are the lower node; held: we are the upper one
    node: str  #: key id of the node at the other end
    cameras: frozenset[str]
    functions: frozenset[Function]
    max_stream: Stream
    #: (name or login, unit) for whom it was asked; name ``*``: everybody of the unit
    persons: frozenset[tuple[str, str]]
    expires_ms: int
    kind: str = ""  #: emergency, supervision
    case_no: str = ""
    reason: str = ""
    from_ms: int | None = None  #: recorded range; None: live only
    to_ms: int | None = None
    confirm_by_ms: int | None = None
    confirmed_ms: int | None = None
    ended_ms: int | None = None

    def names(self, principal: Principal) -> bool:
        """An empty unit in the lease means that the name alone was given."""
        return any(
            name in (principal.name, principal.login, "*") and (unit == principal.unit or (not unit and name != "*"))
            for name, unit in self.persons
        )


@dataclass(frozen=True, slots=True)
class CameraResource:
    """What `decide` needs to know of one camera."""

    id: str
    regions: tuple[str, ...]  #: its region and all ancestors by stored parents
    department_id: str | None = None
    areas: frozenset[str] = frozenset()  #: ids of areas it stands in now
    secrecy: int = 0
    sharing: str = "none"
    origin: Literal["own", "lower"] = "own"
    leases: tuple[LeaseFact, ...] = ()

    def lease(self, id_: str | None) -> LeaseFact | None:
        return next((lease for lease in self.leases if lease.id == id_), None)


@dataclass(frozen=True, slots=True)
class Resources:
    """Cameras by any of these selectors; an empty one selects nothing."""

    regions: frozenset[str] = frozenset()  #: with everything below them
    cameras: frozenset[str] = frozenset()
    areas: frozenset[str] = frozenset()
    departments: frozenset[str] = frozenset()
    all_own: bool = False  #: every camera registered at this node

    def covers(self, camera: CameraResource, ignore_secrecy: bool = False) -> bool:
        if camera.id in self.cameras:
            return True
        if camera.secrecy > 0 and not ignore_secrecy:
            return False  # only by a grant that names the camera
        return (
            (self.all_own and camera.origin == "own")
            or not self.regions.isdisjoint(camera.regions)
            or not self.areas.isdisjoint(camera.areas)
            or (camera.department_id is not None and camera.department_id in self.departments)
        )

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {k: sorted(getattr(self, k)) for k in _SELECTORS if getattr(self, k)}
        return {**value, "all_own": True} if self.all_own else value

    @classmethod
    def from_json(cls, value: object) -> Resources:
        raw = _table(value, {*_SELECTORS, "all_own"}, "resources")
        all_own = raw.get("all_own", False)
        if not isinstance(all_own, bool):
            raise _malformed("resources.all_own")
        return cls(**{k: _texts(raw.get(k, ()), f"resources.{k}") for k in _SELECTORS}, all_own=all_own)


_SELECTORS = ("regions", "cameras", "areas", "departments")


@dataclass(frozen=True, slots=True)
class Conditions:
    """All must be met. None: no such limit."""

    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    footage_from_ms: int | None = None
    footage_to_ms: int | None = None
    look_back_ms: int | None = None
    weekly: tuple[WeeklyWindow, ...] | None = None
    max_stream: Stream = "main"
    max_streams: int | None = None  #: pictures that one person or token may have open at once under this grant
    purposes: frozenset[str] | None = None
    networks: tuple[str, ...] | None = None  #: client addresses, CIDR

    def holds_at(self, now_ms: int) -> bool:
        return (self.valid_from_ms is None or now_ms >= self.valid_from_ms) and (
            self.valid_to_ms is None or now_ms < self.valid_to_ms
        )

    def has_footage_limit(self) -> bool:
        return self.footage_from_ms is not None or self.footage_to_ms is not None or self.look_back_ms is not None

    def is_plain(self) -> bool:
        """True when nothing but validity limits it."""
        return self.weekly is None and self.networks is None and not self.has_footage_limit()

    def until_ms(self, now_ms: int) -> int | None:
        return self.valid_to_ms if self.weekly is None else least(self.valid_to_ms, week_end_ms(self.weekly, now_ms))

    def admits_client(self, client: str | None) -> bool:
        if self.networks is None:
            return True
        try:
            address = ipaddress.ip_address(client or "")
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in ipaddress.ip_network(network) for network in self.networks)

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {k: getattr(self, k) for k in _NUMBERS if getattr(self, k) is not None}
        if self.weekly is not None:
            value["weekly"] = [
                {"days": sorted(w.days), "from_minute": w.from_minute, "to_minute": w.to_minute} for w in self.weekly
            ]
        if self.max_stream != "main":
            value["max_stream"] = self.max_stream
        if self.purposes is not None:
            value["purposes"] = sorted(self.purposes)
        if self.networks is not None:
            value["networks"] = sorted(set(self.networks))
        return value

    @classmethod
    def from_json(cls, value: object) -> Conditions:
        raw = _table(value, {*_NUMBERS, "weekly", "max_stream", "purposes", "networks"}, "conditions")
        numbers: dict[str, int | None] = {}
        for key in _NUMBERS:
            number = raw.get(key)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 0):
                raise _malformed(f"conditions.{key}")
            if key == "max_streams" and number == 0:
                raise _malformed(f"conditions.{key}")  # a grant that opens nothing is a slip of the pen
            numbers[key] = number
        if raw.get("max_stream") not in (None, "main", "sub"):
            raise _malformed("conditions.max_stream")
        purposes = None if raw.get("purposes") is None else _texts(raw["purposes"], "conditions.purposes")
        for purpose in sorted(purposes or ()):
            if purpose not in PURPOSES:
                raise _none_of("purpose", purpose, PURPOSES)
        return cls(
            **numbers,
            weekly=None if raw.get("weekly") is None else _weekly(raw["weekly"]),
            max_stream="sub" if raw.get("max_stream") == "sub" else "main",
            purposes=purposes,
            networks=None if raw.get("networks") is None else _networks(raw["networks"]),
        )


_NUMBERS = ("valid_from_ms", "valid_to_ms", "footage_from_ms", "footage_to_ms", "look_back_ms", "max_streams")


@dataclass(frozen=True, slots=True)
class Grant:
    """Subject × resources × functions × conditions; the subject is whoever holds it in `Principal.grants`."""

    id: str
    source: Literal["user", "department", "role", "token", "lease"]
    resources: Resources
    functions: frozenset[Function]
    conditions: Conditions = Conditions()
    effect: Literal["allow", "deny"] = "allow"
    within: tuple[Resources, ...] = ()  #: narrowing: the camera must be in each of these as well

    def covers(self, camera: CameraResource) -> bool:
        deny = self.effect == "deny"
        if not self.resources.covers(camera, ignore_secrecy=deny):
            return False
        return not self.within or all(r.covers(camera, ignore_secrecy=deny) for r in self.within)

    def as_json(self) -> dict[str, Any]:
        """Without id and source: those belong to the row or token that carries it."""
        value: dict[str, Any] = {
            "effect": self.effect,
            "resources": self.resources.as_json(),
            "functions": sorted(self.functions),
            "conditions": self.conditions.as_json(),
        }
        return {**value, "within": [r.as_json() for r in self.within]} if self.within else value

    @classmethod
    def from_json(cls, id_: str, source: Literal["user", "department", "role", "token"], value: object) -> Grant:
        """Raises access.grant_malformed, access.function_unknown, access.purpose_unknown."""
        raw = _table(value, {"effect", "resources", "functions", "conditions", "within"}, "grant")
        effect = raw.get("effect", "allow")
        within = raw.get("within", ())
        if effect not in ("allow", "deny") or not isinstance(within, (list, tuple)):
            raise _malformed("effect")
        functions = functions_of(_texts(raw.get("functions", ()), "functions"))
        return cls(
            id_,
            source,
            Resources.from_json(raw.get("resources", {})),
            functions,
            Conditions.from_json(raw.get("conditions", {})),
            effect,
            tuple(Resources.from_json(r) for r in within),
        )


class Grants(tuple[Grant, ...]):
    """Grants made ready for many decisions: which of thousands could speak about a camera is looked up, not searched.

    The index belongs to the tuple itself, so nobody can hold one set of grants and the index of another.
    """

    def __init__(self, grants: Iterable[Grant] = ()) -> None:
        del grants  # the tuple has them
        self._by: dict[str, dict[str, list[int]]] = {selector: {} for selector in _SELECTORS}
        self._all_own: list[int] = []
        for number, grant in enumerate(self):
            for selector, by in self._by.items():
                for value in getattr(grant.resources, selector):
                    by.setdefault(value, []).append(number)
            if grant.resources.all_own:
                self._all_own.append(number)

    def about(self, camera: CameraResource) -> list[Grant]:
        """Those that name the camera in some way, in their order; the others cannot cover it (`Resources.covers`)."""
        by = self._by
        numbers = [*self._all_own, *by["cameras"].get(camera.id, ())]
        for region in camera.regions:
            numbers += by["regions"].get(region, ())
        for area in camera.areas:
            numbers += by["areas"].get(area, ())
        if camera.department_id is not None:
            numbers += by["departments"].get(camera.department_id, ())
        return [self[n] for n in (sorted(set(numbers)) if len(numbers) > 1 else numbers)]


def about(grants: tuple[Grant, ...], camera: CameraResource) -> Iterable[Grant]:
    """The grants that could cover `camera`; all of them where nothing was made ready."""
    return grants.about(camera) if isinstance(grants, Grants) else grants


@dataclass(frozen=True, slots=True)
class Posting:
    """A person at work in another unit for a time: what both their home and that unit may (`tiering.access.decide`)."""

    department_id: str
    unit: str
    grants: tuple[Grant, ...]  #: the unit's
    until_ms: int


@dataclass(frozen=True, slots=True)
class Wall:
    """The shared account of a wall of screens. By itself it may nothing; with a person on duty, what both may."""

    id: str
    login: str
    name: str
    department_id: str | None
    roles: frozenset[str]
    grants: tuple[Grant, ...]
    until_ms: int | None  #: when the shift of who is on duty ends; None: nobody is


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Grants are loaded; those of roles are added by `decide`."""

    kind: Literal["user", "token", "node"]
    id: str  #: user id, token jti, or key id of a node
    login: str  #: sign-in name; a token's label; a node's name
    name: str  #: the natural person, the token's label, the node
    unit: str  #: department's name, both names of a person who is posted, or the node's region
    department_id: str | None = None
    roles: frozenset[str] = frozenset()
    grants: tuple[Grant, ...] = ()
    expires_ms: int | None = None
    session: str | None = None  #: hex of the session's hash, when signed in by one: signing out ends its looks
    must_change: bool = False
    posting: Posting | None = None
    opened_until_ms: int | None = None  #: a break-glass seal that they opened gives roles until then
    wall: Wall | None = None  #: the shared wall that they are on duty at; with nobody on duty, all else names the wall
    stream_password: str | None = None  #: id of the one by which they read streams; it narrows what they may
    unmarked: bool = False  #: pictures may leave without their name although it should be in them

    @property
    def actor(self) -> str:
        """As the audit log names it; at a wall both, the person first."""
        if self.wall is not None:
            wall = f"wall:{self.wall.login}"
            return wall if self.wall.until_ms is None else f"user:{self.login} {wall}"
        return f"{self.kind}:{self.login if self.kind == 'user' else self.id}"

    def as_json(self) -> dict[str, Any]:
        """What rows keep of it: enough to name it and to load it again, no rights."""
        value: dict[str, Any] = {
            "kind": self.kind, "id": self.id, "login": self.login, "name": self.name, "unit": self.unit,
        }  # fmt: skip
        if self.wall is not None:
            value["wall"] = {"id": self.wall.id, "login": self.wall.login, "name": self.wall.name}
        if self.stream_password is not None:
            value["stream_password"] = self.stream_password
        return {**value, "session": self.session}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the request is about, beyond function and camera."""

    stream: Stream | None = None
    from_ms: int | None = None  #: footage range; both or none
    to_ms: int | None = None
    purpose: str = "daily_watch"
    client: str | None = None  #: address of the caller
    opened_ms: int | None = None  #: when the look began; a rolling look-back counts from there
    #: Pictures that the caller has open, by id of the grant, when one more is to be opened; None: none is.
    open_looks: Mapping[str, int] | None = None
    original: bool = False  #: an export of the pictures as recorded, the caller's name not burnt into them
    unmarked: bool = False  #: live pictures for software that lays nobody's name over them
    lease_id: str | None = None  #: of a node: the lease under which it asks. That one speaks, and no other of its own


# --- roles -----------------------------------------------------------------------------------------------------------


def _role(name: str, *functions: Function, conditions: Conditions = Conditions()) -> Grant:
    return Grant(f"role:{name}", "role", Resources(all_own=True), frozenset(functions), conditions)


_F = Function
_OPERATOR = (_F.LIVE, _F.PLAYBACK, _F.SNAPSHOT, _F.PTZ, _F.STATUS, _F.CATALOG)
LOOK_BACK_OF_AUXILIARY_MS = 10 * 60_000

#: Templates shipped. An administrator sees no picture (Order 799 art. 16(2)(2)); three roles, none does another's work.
ROLES: dict[str, tuple[Grant, ...]] = {
    "system_admin": (_role("system_admin", _F.MANAGE, _F.STATUS, _F.CATALOG),),
    "security_admin": (_role("security_admin", _F.CATALOG),),
    "audit_admin": (_role("audit_admin", _F.CATALOG),),
    "operator": (_role("operator", *_OPERATOR),),
    "duty": (_role("duty", *_OPERATOR, _F.EXPORT, _F.HOLD),),
    "auxiliary": (
        _role("auxiliary", _F.LIVE, _F.STATUS, _F.CATALOG),
        _role("auxiliary", _F.PLAYBACK, conditions=Conditions(look_back_ms=LOOK_BACK_OF_AUXILIARY_MS)),
    ),
    "analysis": (_role("analysis", _F.PLAYBACK, _F.SNAPSHOT, _F.HOLD, _F.STATUS, _F.CATALOG),),
    "inspection": (
        _role("inspection", _F.LIVE, _F.SNAPSHOT, _F.STATUS, _F.CATALOG, conditions=Conditions(max_stream="sub")),
    ),
}


# --- narrowing -------------------------------------------------------------------------------------------------------


def narrow(grant: Grant, by: Grant) -> Grant:
    """Both at once: never more than either (FAULTS S13). Raises ValueError when one of them denies."""
    if grant.effect != "allow" or by.effect != "allow":
        raise ValueError("a denial cannot be narrowed")
    a, b = grant.conditions, by.conditions
    return Grant(
        grant.id,
        grant.source,
        grant.resources,
        grant.functions & by.functions,
        Conditions(
            valid_from_ms=_most(a.valid_from_ms, b.valid_from_ms),
            valid_to_ms=least(a.valid_to_ms, b.valid_to_ms),
            footage_from_ms=_most(a.footage_from_ms, b.footage_from_ms),
            footage_to_ms=least(a.footage_to_ms, b.footage_to_ms),
            look_back_ms=least(a.look_back_ms, b.look_back_ms),
            weekly=_both_weekly(a.weekly, b.weekly),
            max_stream=lower_stream(a.max_stream, b.max_stream),
            max_streams=least(a.max_streams, b.max_streams),
            purposes=_both_purposes(a.purposes, b.purposes),
            networks=_both_networks(a.networks, b.networks),
        ),
        "allow",
        (*grant.within, by.resources, *by.within),
    )


def _most(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else max(a, b)


def least(a: int | None, b: int | None) -> int | None:
    """The smaller limit; None is none."""
    return b if a is None else a if b is None else min(a, b)


def _both_purposes(a: frozenset[str] | None, b: frozenset[str] | None) -> frozenset[str] | None:
    return b if a is None else a if b is None else a & b


def _both_weekly(
    a: tuple[WeeklyWindow, ...] | None, b: tuple[WeeklyWindow, ...] | None
) -> tuple[WeeklyWindow, ...] | None:
    if a is None or b is None:
        return a if b is None else b
    pairs = (
        WeeklyWindow(x.days & y.days, max(x.from_minute, y.from_minute), min(x.to_minute, y.to_minute))
        for x in a
        for y in b
    )
    return tuple(w for w in pairs if w.days and w.from_minute < w.to_minute)


def _both_networks(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if a is None or b is None:
        return a if b is None else b
    both: list[str] = []
    for x in map(ipaddress.ip_network, a):
        for y in map(ipaddress.ip_network, b):
            if x.version == y.version and x.overlaps(y):
                both.append(str(x if x.prefixlen >= y.prefixlen else y))
    return tuple(dict.fromkeys(both))


# --- JSON ------------------------------------------------------------------------------------------------------------


def _malformed(field: str) -> TiergateError:
    return TiergateError(Kind.INVALID, "access.grant_malformed", field=field)


def _none_of(what: Literal["function", "purpose"], given: str, known: Iterable[str]) -> TiergateError:
    return TiergateError(Kind.INVALID, f"access.{what}_unknown", **{what: given[:40], "known": ", ".join(known)})


def functions_of(names: Iterable[str]) -> frozenset[Function]:
    """Raises access.function_unknown."""
    given = frozenset(names)
    for name in sorted(given - set(Function)):
        raise _none_of("function", name, Function)
    return frozenset(Function(name) for name in given)


def _table(value: object, known: set[str], name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _malformed(name)
    unknown = set(value) - known
    if unknown:
        raise _malformed(f"{name}.{str(sorted(map(str, unknown))[0])[:40]}")
    return value


def _texts(value: object, name: str) -> frozenset[str]:
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(v, str) and v for v in value):
        raise _malformed(name)
    return frozenset(value)


def _weekly(value: object) -> tuple[WeeklyWindow, ...]:
    if not isinstance(value, (list, tuple)):
        raise _malformed("conditions.weekly")
    windows: list[WeeklyWindow] = []
    for item in value:
        raw = _table(item, {"days", "from_minute", "to_minute"}, "conditions.weekly")
        days, low, high = raw.get("days"), raw.get("from_minute"), raw.get("to_minute")
        if not isinstance(days, (list, tuple)) or not days or not all(_whole(n, 1, 7) for n in days):
            raise _malformed("conditions.weekly.days")
        if not _whole(low, 0, 1439) or not _whole(high, 1, 1440) or not low < high:
            raise _malformed("conditions.weekly")
        windows.append(WeeklyWindow(frozenset(days), low, high))
    return tuple(windows)


def _whole(value: object, least: int, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _networks(value: object) -> tuple[str, ...]:
    try:
        return tuple(sorted(str(ipaddress.ip_network(n)) for n in _texts(value, "conditions.networks")))
    except ValueError:
        raise _malformed("conditions.networks") from None
