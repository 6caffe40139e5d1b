"""The access matrix (FAULTS S1): who there is, what must come of each at each route, and how it is asked.

Belongs here: the crowd and the machinery of a cell. Nothing is taken from the product's own answer: `routes_table` says
a second time what a route demands, `crowd` says of each caller what they may do, and `expected` derives a cell from
those two words alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection

from gateway.access.ids import hash_of
from gateway.web.policy import Declared, declared
from storage.catalog import cameras, grants, people, places, sessions, shifts
from storage.catalog.grants import GrantRow, TokenRow
from storage.catalog.tables import session
from tests.gateway.web.site import REGION, Site

MINUTE = 60_000
IN = "in"  #: the gate and every decision let this caller through; what the route then makes of it is its own matter

#: What a first password still lets one do before it is changed.
BEFORE_CHANGE = frozenset({"DELETE /api/v1/session", "POST /api/v1/session/password"})
#: What a shared wall may where nobody is on duty, and what of the routes for people is also for who is on duty there.
OFF_DUTY = frozenset(
    {
        "DELETE /api/v1/session", "POST /api/v1/session/shift", "DELETE /api/v1/session/shift",
        "DELETE /api/v1/cameras/{camera_id}/whep/{session}",
    }
)  # fmt: skip
ON_WALLS = frozenset({"GET /api/v1/leases", "GET /api/v1/leases/{lease_id}/timeline"})
#: These end what everybody asked after them needs; they have tests of their own.
ENDS = frozenset({"DELETE /api/v1/session", "DELETE /api/v1/session/shift"})
OF_A_CAMERA = frozenset({"camera", "live", "playback", "snapshot", "export", "ptz", "manage"})
#: Codes by which the gate itself refuses. A route's own rule may say 403 as well, with a code of its own.
GATE = frozenset(
    {
        "access.not_signed_in", "access.must_change", "access.users_only", "access.role_needed", "web.origin",
        "access.wall_looks", "access.nobody_on_duty",
    }
)  # fmt: skip


def word(route: Declared) -> str:
    policy = route.policy
    if policy.function is not None:
        return policy.function.value
    for name, said in (("public", policy.public), ("path", policy.path_session), ("camera", policy.camera)):
        if said:
            return name
    return "+".join(sorted(policy.roles)) if policy.roles else "users" if policy.users_only else "signed_in"


def cells(site: Site) -> dict[str, str]:
    """ "METHOD path" → what the route declares to demand."""
    found: dict[str, str] = {}
    for route in declared(site.app):
        for method in sorted(route.methods) or ["WS"]:
            found[f"{method} {route.path}"] = word(route)
    return found


# --- who ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what must come of it by our own reckoning."""

    name: str
    bearer: str | None
    kind: str  #: nobody, bad (a credential that is none any more), token, user
    roles: frozenset[str] = frozenset()
    sees: bool = True  #: `camera` is in their catalogue
    may: Mapping[str, str] = field(default_factory=dict)  #: function → IN, or the code of the refusal
    camera: str = "mine"
    ago_ms: int = 5 * MINUTE  #: the minute of footage that is asked for begins so long ago
    purpose: str | None = None
    address: str = "127.0.0.1"
    origin: str | None = None
    must_change: bool = False
    wall: str = ""  #: the account of a shared wall: "manned", "empty"
    only_cameras: bool = False  #: differs from others at routes of a camera alone


OWNER = "01K00000000000000000999999"  #: the department of the camera that is shared with nobody
PICTURES = ("live", "playback", "snapshot", "export", "ptz")
_ALL = dict.fromkeys(PICTURES, IN)
_OPERATOR = dict.fromkeys(("live", "playback", "snapshot", "ptz"), IN)
_ROLES: dict[str, dict[str, str]] = {
    "system_admin": {"manage": IN},
    "security_admin": {},
    "audit_admin": {},
    "operator": _OPERATOR,
    "duty": _OPERATOR | {"export": IN},
    "auxiliary": {"live": IN, "playback": IN},
    "analysis": {"playback": IN, "snapshot": IN},
    "inspection": {"live": IN, "snapshot": "access.needs_other"},
}
#: What single functions are worth: steering needs live, a still of the past needs playback.
_ALONE = {name: {name: IN} for name in ("live", "playback", "export")} | {
    "snapshot": {"snapshot": "access.needs_other"},
    "ptz": {"ptz": "access.needs_other"},
    "status": {},
    "catalog": {},
}  # fmt: skip


class Maker:
    """Writes people, departments, tokens and grants into the catalog as the routes would."""

    def __init__(self, site: Site, cameras_: dict[str, str]) -> None:
        self.site, self.cameras = site, cameras_
        self._count = 0
        self.department = self.unit("教育局")
        self.foreign = self.unit("城管局")

    def fresh(self) -> str:
        self._count += 1
        return f"01K00000000000000000{self._count:06d}"

    def unit(self, name: str) -> str:
        id_ = self.fresh()
        self.site.catalog.write(lambda c: places.add_department(c, id_, name, REGION, self.site.now_ms()))
        return id_

    def give(self, kind: str, subject: str, *functions: str, **more: Any) -> None:
        value = {
            "effect": more.pop("effect", "allow"),
            "resources": more.pop("resources", {"cameras": [self.cameras["mine"]]}),
            "functions": list(functions or PICTURES),
            "conditions": more,
        }
        row = GrantRow(self.fresh(), kind, subject, value, self.site.now_ms(), "admin")
        self.site.catalog.write(lambda c: grants.add_grant(c, row))

    def person(self, login: str, *roles: str, department: str | None = None, **changes: Any) -> tuple[str, str]:
        """(id, session)."""
        id_ = self.site.user(login, roles, department)
        if changes:
            self.site.catalog.write(lambda c: people.change_user(c, id_, changes))
        return id_, self.session(user_id=id_)

    def session(self, **of: Any) -> str:
        return self.site.catalog.write(lambda c: self.site.services.sessions.start(c, **of))[0]

    def shift(self, wall_session: str, person: str) -> None:
        """`person` is on duty on that sign-in of a wall for an hour; whoever was before is not any more."""
        id_hash, now_ms, id_ = hash_of(wall_session), self.site.now_ms(), self.fresh()

        def write(connection: Connection) -> None:
            shifts.end_on(connection, id_hash, now_ms, "replaced")
            wall_id = sessions.sessions(connection, [id_hash])[id_hash].user_id or ""
            row = shifts.Shift(id_, id_hash, wall_id, person, now_ms, now_ms + 60 * MINUTE, "127.0.0.1")
            shifts.add(connection, row)

        self.site.catalog.write(write)

    def row(self, label: str, camera: str = "mine", *functions: str, minutes: int = 480, **conditions: Any) -> TokenRow:
        now_ms = self.site.now_ms() // 1000 * 1000
        value = {
            "effect": "allow",
            "resources": {"cameras": [self.cameras[camera]]},
            "functions": list(functions or (*PICTURES, "status", "catalog")),
            "conditions": conditions,
        }
        made = TokenRow(
            self.fresh(), self.department, "教育局", label, value, now_ms, now_ms + minutes * MINUTE, "admin"
        )
        self.site.catalog.write(lambda c: grants.add_token(c, made))
        return made

    def token(self, label: str, camera: str = "mine", *functions: str, **more: Any) -> str:
        return self.site.services.tokens.sign(self.row(label, camera, *functions, **more))


@dataclass(slots=True)
class Crowd:
    site: Site
    cameras: dict[str, str]  #: mine, other, secret, private, removed, unknown
    make: Maker
    callers: list[Caller]

    def caller(self, name: str) -> Caller:
        return next(c for c in self.callers if c.name == name)


def make_cameras(site: Site) -> dict[str, str]:
    site.catalog.write(lambda c: places.add_department(c, OWNER, "交通局", REGION, site.now_ms()))
    made: dict[str, str] = {"unknown": "21021100011326999999"}
    wanted: dict[str, dict[str, Any]] = {
        "mine": {"sharing": "departments"},
        "other": {"sharing": "departments"},
        "secret": {"sharing": "departments", "secrecy": 1},
        "private": {"department_id": OWNER},
        "removed": {"sharing": "departments"},
    }
    for number, (name, more) in enumerate(wanted.items()):
        made[name] = add(site, f"口岸 {name}", number, **more)
    site.catalog.write(lambda c: cameras.remove_camera(c, made["removed"], site.now_ms()))
    return made


def add(site: Site, name: str, number: int, **more: Any) -> str:
    new = cameras.NewCamera(name, REGION, (("main", f"rtsp://10.0.1.{number}/{name}", None),), **more)
    return site.catalog.write(lambda c: cameras.create_camera(c, new, "community", 32, site.now_ms())).id


def crowd_of(site: Site) -> Crowd:
    known = make_cameras(site)
    make = Maker(site, known)
    callers = [*_bad(site, make), *_tokens(site, make), *_people(site, make), *_walls(site, make)]
    site.services.watch.bump()
    return Crowd(site, known, make, callers)


def _bad(site: Site, make: Maker) -> list[Caller]:
    """Credentials that are none, or none any more."""
    tokens = site.services.tokens
    expired = make.token("expired", "mine", minutes=2)
    site.clock.advance(121)
    now_ms = site.now_ms()
    good = make.row("bent")
    revoked = make.row("revoked")
    page_of_revoked = make.session(token_jti=revoked.jti)
    site.catalog.write(lambda c: grants.revoke_token(c, revoked.jti, "admin", now_ms))
    _, signed_out = make.person("left")
    site.catalog.write(lambda c: sessions.end_session(c, hash_of(signed_out), now_ms))
    _, over = make.person("late", "operator")
    late = session.update().where(session.c.id_hash == hash_of(over)).values(expires_ms=now_ms)
    site.catalog.write(lambda c: c.execute(late))
    _, disabled = make.person("gone", "operator", disabled_ms=now_ms)
    wide = good.grant | {"resources": {"cameras": [make.cameras["mine"], make.cameras["other"]]}}
    found = {
        "nonsense": "tgs_nonsense",
        "torn": "a.b.c",
        "expired": expired,
        "not yet": tokens.sign(replace(good, issued_ms=now_ms + 60 * MINUTE)),
        "revoked": tokens.sign(revoked),
        "page of a revoked token": page_of_revoked,
        "another subject": tokens.sign(replace(good, department_id=make.foreign)),
        "widened": tokens.sign(replace(good, grant=wide)),
        "prolonged": tokens.sign(replace(good, expires_ms=good.expires_ms + 3_600_000)),
        "signed out": signed_out,
        "session over": over,
        "disabled": disabled,
    }
    return [Caller("nobody", None, "nobody"), *(Caller(name, text, "bad") for name, text in found.items())]


def _tokens(site: Site, make: Maker) -> list[Caller]:
    now_ms = site.now_ms()

    def caller(name: str, bearer: str, may: Mapping[str, str] = _ALL, **more: Any) -> Caller:
        return Caller(name, bearer, "token", may=may, only_cameras=True, **more)

    right = make.row("the right one")
    text = site.services.tokens.sign(right)
    window = make.token("windowed", footage_from_ms=now_ms - 120 * MINUTE, footage_to_ms=now_ms - 60 * MINUTE)
    outside = dict.fromkeys(("playback", "snapshot", "export"), "access.footage_outside")
    networked = make.token("networked", networks=["10.9.0.0/16"])
    recent = make.token("recent", look_back_ms=10 * MINUTE)
    small = make.token("small", max_stream="sub")
    return [
        replace(caller("the right one", text), only_cameras=False),
        replace(caller("another site", text), only_cameras=False, origin="https://evil.example"),
        caller("the right one's page", make.session(token_jti=right.jti)),
        caller("other camera", make.token("other camera", "other"), sees=False),
        caller("right one, unknown camera", text, sees=False, camera="unknown"),
        caller("removed camera", make.token("removed camera", "removed"), sees=False, camera="removed"),
        caller("unshared camera", make.token("unshared camera", "private"), sees=False, camera="private"),
        caller("inside the window", window, ago_ms=90 * MINUTE),
        caller("outside the window", window, _ALL | outside),
        caller("across the window's edge", window, _ALL | outside | {"snapshot": IN}, ago_ms=60 * MINUTE + 30_000),
        caller("across the window's beginning", window, _ALL | outside, ago_ms=120 * MINUTE + 30_000),
        caller("looking back", recent, ago_ms=9 * MINUTE),
        caller("too far back", recent, _ALL | dict.fromkeys(outside, "access.look_back"), ago_ms=30 * MINUTE),
        caller("right network", networked, address="10.9.1.1"),
        caller("right network, mapped", networked, address="::ffff:10.9.1.1"),
        caller("wrong network", networked, dict.fromkeys(PICTURES, "access.network"), address="10.8.1.1"),
        caller("small stream", small, _ALL | dict.fromkeys(("playback", "export"), "access.sub_only")),
        *(caller(f"{name} alone", make.token(f"{name} alone", "mine", name), may) for name, may in _ALONE.items()),
    ]


def _people(site: Site, make: Maker) -> list[Caller]:
    now_ms, found = site.now_ms(), []

    def caller(name: str, *roles: str, may: Mapping[str, str], **more: Any) -> Caller:
        changes = {"must_change": True} if more.get("must_change") else {}
        id_, bearer = make.person(name, *roles, department=more.pop("department", None), **changes)
        for given in more.pop("given", ()):
            make.give("user", id_, *given.pop("functions", ()), **given)
        camera_alone = more.pop("only_cameras", True)
        return Caller(name, bearer, "user", frozenset(roles), may=may, only_cameras=camera_alone, **more)

    for role, may in _ROLES.items():
        found.append(caller(role, role, may=may, only_cameras=False))
    auxiliary = next(c for c in found if c.name == "auxiliary")
    everything = {"live": IN, "playback": IN, "snapshot": IN, "export": IN, "ptz": IN, "manage": IN}
    make.give("department", make.foreign, resources={"cameras": [make.cameras["private"]]})
    make.give("department", OWNER, resources={"cameras": [make.cameras["private"]]})
    weekday = (now_ms // 86_400_000 + 3) % 7 + 1  # of UTC; Shanghai is at most a day further: three days are closed
    closed = [{"days": [(weekday + 2) % 7 + 1], "from_minute": 0, "to_minute": 1440}]
    opened = [{"days": [1, 2, 3, 4, 5, 6, 7], "from_minute": 0, "to_minute": 1440}]
    denied_now = {"effect": "deny", "functions": ("playback",), "footage_from_ms": now_ms - 10 * MINUTE}
    return [
        *found,
        replace(auxiliary, name="auxiliary, too far back", may={"live": IN, "playback": "access.look_back"},
                ago_ms=30 * MINUTE, only_cameras=True),
        caller("stranger", may={}, sees=False, only_cameras=False),
        caller("first password", *_ROLES, may=everything, must_change=True, only_cameras=False),
        caller("everything", *_ROLES, may=everything, only_cameras=False),
        caller("named", may=_ALL, given=[{}]),
        caller("other department", may=_ALL, sees=False, department=make.foreign, camera="private"),
        caller("own department", may=_ALL, department=OWNER, camera="private"),
        caller("other region", may=_ALL, sees=False, given=[{"resources": {"regions": ["210211001004"]}}]),
        caller("own region", may=_ALL, given=[{"resources": {"regions": [REGION]}}]),
        caller("region above", may=_ALL, given=[{"resources": {"regions": ["2102"]}}]),
        caller("secret camera by role", "duty", may={}, sees=False, camera="secret"),
        caller("secret camera by region", may={}, sees=False, camera="secret",
               given=[{"resources": {"regions": ["2102"]}}]),
        caller("secret camera by name", may=_ALL, camera="secret",
               given=[{"resources": {"cameras": [make.cameras["secret"]]}}]),
        caller("not valid yet", may={}, sees=False, given=[{"valid_from_ms": now_ms + MINUTE}]),
        caller("valid no more", may={}, sees=False, given=[{"valid_to_ms": now_ms}]),
        caller("valid now", may=_ALL, given=[{"valid_from_ms": now_ms, "valid_to_ms": now_ms + MINUTE}]),
        caller("closed this day", may=dict.fromkeys(PICTURES, "access.outside_week"), given=[{"weekly": closed}]),
        caller("open all week", may=_ALL, given=[{"weekly": opened}]),
        caller("denied live", "operator", may=_OPERATOR | {"live": "access.denied", "ptz": "access.needs_other"},
               given=[{"effect": "deny", "functions": ("live",)}]),
        caller("denied this hour", "operator", given=[denied_now],
               may=_OPERATOR | {"playback": "access.denied", "snapshot": "access.needs_other"}),
        caller("denied all", "operator", may={}, sees=False,
               given=[{"effect": "deny", "functions": (*PICTURES, "status", "catalog", "talk", "hold", "manage")}]),
        caller("for drills, watching", may=dict.fromkeys(PICTURES, "access.purpose"), purpose="daily_watch",
               given=[{"purposes": ["drill"]}]),
        caller("for drills, drilling", may=_ALL, purpose="drill", given=[{"purposes": ["drill"]}]),
    ]  # fmt: skip


def _walls(site: Site, make: Maker) -> list[Caller]:
    """Shared accounts of walls. Who is on duty at each but one may everything: what is refused, the wall lacks."""
    looks = {"live": IN, "playback": IN, "ptz": IN}
    person = site.user("on duty", tuple(_ROLES))

    def wall(name: str, *roles: str, may: Mapping[str, str], manned: bool = True, **more: Any) -> Caller:
        id_, bearer = make.person(name, *roles, wall=True)
        for given in more.pop("given", ()):
            make.give("user", id_, **given)
        if manned:
            make.shift(bearer, person)
        may = dict.fromkeys((*PICTURES, "manage"), "access.wall_function") | dict(may)
        return Caller(
            name, bearer, "user", frozenset(roles), sees=more.get("sees", True), may=may,
            wall="manned" if manned else "empty", only_cameras=more.get("only_cameras", True),
        )  # fmt: skip

    every = [{"resources": {"cameras": [make.cameras["mine"]]}}]
    return [
        wall("wall", "duty", may=looks, only_cameras=False),
        wall("wall of its own grants", may=looks, given=every),
        wall("wall of an auxiliary", "auxiliary", may={"live": IN, "playback": IN, "ptz": "access.wall_lacks"}),
        wall("wall that may nothing", may={}, sees=False),
        wall("empty wall", "duty", may={}, manned=False, only_cameras=False),
    ]  # fmt: skip


TIMELINE = "GET /api/v1/cameras/{camera_id}/timeline"
_WITH_STATUS = {"system_admin", "operator", "duty", "auxiliary", "analysis", "inspection"}
_PLAYS_SOMETHING = {IN, "access.footage_outside", "access.look_back", "access.sub_only"}

# --- what must come of it -------------------------------------------------------------------------------------------


def expected(caller: Caller, cell: str, demanded: str) -> tuple[int, str] | str:
    """(status, code) of the refusal, or IN. Of the caller and the demand alone."""
    method = cell.partition(" ")[0]
    if caller.origin is not None and method != "GET":
        return 403, "web.origin"
    if demanded == "public":
        return IN
    if demanded == "path":
        return 404, "access.not_found"  # 128 bits that nobody has
    if caller.kind in ("nobody", "bad"):
        return 401, ""
    if caller.must_change and cell not in BEFORE_CHANGE:
        return 403, "access.must_change"
    of_people = demanded not in OF_A_CAMERA and demanded != "signed_in"
    if caller.wall and of_people and cell not in ON_WALLS:
        return 403, "access.wall_looks"
    if caller.wall == "empty" and cell not in OFF_DUTY:
        return 403, "access.nobody_on_duty"
    if demanded == "signed_in":
        return IN
    if demanded in OF_A_CAMERA:
        if not caller.sees:
            return 404, "access.not_found"
        if cell == TIMELINE and caller.roles.isdisjoint(_WITH_STATUS):
            # To them it shows the times that playback covers, none of them when the window lies elsewhere.
            return IN if caller.may.get("playback") in _PLAYS_SOMETHING else (403, "access.no_function")
        verdict = IN if demanded == "camera" else caller.may.get(demanded, "access.no_function")
        return IN if verdict == IN else (403, verdict)
    if caller.kind == "token":
        return 403, "access.users_only"
    if demanded == "users" or not caller.roles.isdisjoint(demanded.split("+")):
        return IN
    return 403, "access.role_needed"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int | None  #: 101 for an accepted WebSocket; None when nothing began in a while
    code: str
    text: str


def wrong(answer: Answer, wanted: tuple[int, str] | str, demanded: str) -> bool:
    if answer.status is not None and answer.status >= 500 and answer.status != 503:
        return True
    if not isinstance(wanted, str):
        status, code = wanted
        refused = answer.status == status and (not code or answer.code == code)
        return not refused or "口岸" in answer.text
    if demanded == "public":
        return answer.status == 403
    if demanded in OF_A_CAMERA:
        return answer.status == 401 or answer.code.startswith("access.")
    return answer.status == 401 or answer.code in GATE


# --- asking ---------------------------------------------------------------------------------------------------------

_QUERIES = {
    "playback.m3u8": "from={low}&to={high}",
    "evidence.zip": "camera=01K&from={low}&to={high}&reason=an+incident+at+the+gate",
    "clip.mp4": "from={low}&to={high}&reason=an+incident+at+the+gate",
    "snapshot.jpg": "at={low}",
    "timeline": "from={low}&to={high}",
    "sweep": "dry_run=true",
}
_BODIES = {"discover": {"seconds": 99}}  #: refused after the gate: nothing is multicast from a test
_WAIT_S = 1.0


async def ask_cell(crowd: Crowd, cell: str, caller: Caller) -> Answer:
    camera = crowd.cameras[caller.camera]
    if cell == "DELETE /api/v1/cameras/{camera_id}" and expected(caller, cell, "manage") == IN:
        camera = add(crowd.site, f"口岸 {caller.name}", 9)
    method, path = cell.split(" ", 1)
    last = path.rpartition("/")[2]
    values = {"camera_id": camera, "name:path": "index.html", "ordinal": "0", "segment_id": "01K" + "0" * 23}
    path = re.sub(r"\{([^}]+)\}", lambda m: values.get(m[1], "01K0000000000000000000000Z"), path)
    low_ms = crowd.site.now_ms() - caller.ago_ms
    query = _QUERIES.get(last, "").format(low=low_ms, high=low_ms + MINUTE)
    if caller.purpose is not None:
        query += f"&purpose={caller.purpose}"
    return await ask(
        crowd.site, method, path, caller.bearer, query=query, address=caller.address, origin=caller.origin,
        body=json.dumps(_BODIES.get(last, {})).encode(),
    )  # fmt: skip


async def ask(
    site: Site, method: str, path: str, bearer: str | None = None, *, query: str = "", body: bytes = b"{}",
    address: str = "127.0.0.1", origin: str | None = None,
) -> Answer:  # fmt: skip
    """How the answer begins, and all of it where it is a refusal."""
    headers = [(b"host", b"node.test"), (b"content-type", b"application/json")]
    if bearer is not None:
        headers.append((b"authorization", b"Bearer " + bearer.encode()))
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    scope: dict[str, Any] = {
        "type": "websocket" if method == "WS" else "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "ws" if method == "WS" else "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.lstrip("&").encode(),
        "root_path": "",
        "headers": headers,
        "client": (address, 1),
        "server": ("node.test", 80),
        "extensions": {"websocket.http.response": {}},
        "subprotocols": [],
    }
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    status, text, given = 0, bytearray(), False

    async def receive() -> dict[str, Any]:
        nonlocal given
        if given:
            await asyncio.Event().wait()
        given = True
        return {"type": "websocket.connect"} if method == "WS" else {"type": "http.request", "body": body}

    def finish(value: int) -> None:
        if not done.done():
            done.set_result(value)

    async def send(message: Any) -> None:
        nonlocal status
        kind = message["type"].removeprefix("websocket.")
        if kind == "accept":
            finish(101)
        elif kind == "close":
            finish(403)
        elif kind.endswith("response.start"):
            status = message["status"]
            if status < 400:
                finish(status)
        elif kind.endswith("response.body"):
            text.extend(message.get("body", b"")[: 1 << 16])
            if not message.get("more_body", False):
                finish(status)

    task = asyncio.create_task(site.app(scope, receive, send))
    ends: set[asyncio.Future[Any]] = {task, done}
    await asyncio.wait(ends, timeout=_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    if not done.done():
        done.cancel()
        return Answer(None, "", "")
    said = text.decode("utf-8", "replace")
    code = ""
    if done.result() >= 400:
        with contextlib.suppress(ValueError):
            code = str(json.loads(said).get("code", ""))
    return Answer(done.result(), code, said)
