"""Checks of the decision and of its enforcement, deleted one at a time: each must be missed by somebody (FAULTS S1).

A mutant is the same function with a piece of its text exchanged; its code is put under the living function, so that
whoever imported it runs the mutant. What kills it is the matrix, its courses of events, the table of decisions, or the
random narrowings. A mutant that survives is a check that no test would miss.
"""

from __future__ import annotations
import __future__

import contextlib
import inspect
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any

import pytest
import pytest_asyncio

from gateway.access import digest, principals, tokens
from gateway.access.looks import Looks
from gateway.access.media_sessions import MediaSessions
from gateway.access.principals import Principals
from gateway.access.tokens import Tokens
from gateway.rtsp.connection import Connection
from gateway.web.middleware import Guard
from gateway.web.policy import Gate
from storage.catalog import shifts
from tests.gateway.web import matrix
from tests.gateway.web.crowd import crowd_in, decision_cells, path_cells, running_cells
from tests.gateway.web.matrix import Crowd, ask_cell, expected
from tests.gateway.web.routes_table import ROUTES
from tests.gateway.web.rtsp_cells import method_cells
from tests.tiering.narrowings import Tally, widenings
from tiering import access, grants
from tiering.grants import Conditions, LeaseFact, Resources

Edit = tuple[Any, str, str]  #: a function, what stands in it once, what shall stand there


@dataclass(frozen=True)
class Mutant:
    name: str
    by: str  #: who is expected to miss it; the others are asked when that one does not
    edits: tuple[Edit, ...]


def one(name: str, by: str, function: Any, old: str, new: str) -> Mutant:
    return Mutant(name, by, ((function, old, new),))


NEVER = "if False:"
MUTANTS = [
    # the decision
    one("object: a grant covers every camera", "cells", grants.Grant.covers,
        "if not self.resources.covers(camera, ignore_secrecy=deny):", NEVER),
    one("function: a grant is for every function", "cells", access._judge,
        "relevant = [g for g in grants if function in g.functions]", "relevant = grants"),
    one("deny wins", "cells", access._judge,
        "if denies and any(_applies(g, function, now_ms, facts) is None for g in denies):", NEVER),
    one("deny hides", "cells", access._visible, "not grant.functions <= hidden", "grant.functions"),
    one("validity: end", "cells", Conditions.holds_at, "self.valid_to_ms is None or now_ms < self.valid_to_ms", "True"),
    one("validity: beginning", "cells", Conditions.holds_at,
        "(self.valid_from_ms is None or now_ms >= self.valid_from_ms)", "True"),
    one("weekly window", "cells", access._applies,
        "if conditions.weekly is not None and week_end_ms(conditions.weekly, now_ms) is None:", NEVER),
    one("source network", "cells", access._applies, "if not conditions.admits_client(facts.client):", NEVER),
    one("source network: IPv4 in IPv6", "cells", Conditions.admits_client,
        "if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:", NEVER),
    one("purpose", "cells", access._applies,
        "if conditions.purposes is not None and facts.purpose not in conditions.purposes:", NEVER),
    one("best stream", "cells", access._applies,
        'if facts.stream == "main" and conditions.max_stream == "sub":', NEVER),
    one("pictures at once", "decisions", access._is_full,
        "open_looks.get(grant.id, 0) >= grant.conditions.max_streams", "False"),
    one("footage window", "cells", access._judge, "if _about_footage(function, facts):", NEVER),
    one("footage window: beginning", "cells", access._clip, "low = max(low, conditions.footage_from_ms)", "pass"),
    one("footage window: end", "cells", access._clip, "high = min(high, conditions.footage_to_ms)", "pass"),
    one("look-back", "cells", access._clip, "low = max(low, asked_ms - conditions.look_back_ms)", "pass"),
    one("steering needs live", "cells", access._needs, "if function in _STEERING:", NEVER),
    one("a still of the past needs playback", "cells", access._needs,
        "if facts.from_ms is not None and function is Function.SNAPSHOT:", NEVER),
    one("secrecy", "cells", Resources.covers, "if camera.secrecy > 0 and not ignore_secrecy:", NEVER),
    one("sharing: tokens", "cells", access._speaking, 'if shared or g.effect == "deny"]', "]"),
    one("sharing: departments", "cells", access._shared,
        'if resource.sharing != "none":', "if True:"),
    one("cover: of grants that were found at all", "cells", access._effective, " if grant.covers(resource)]", "]"),
    one("a posting is looked at", "decisions", access._as_person, "if there is None or not home.visible:",
        "if True:"),
    one("what the other of two hides", "decisions", access._both, "if not other.visible:", NEVER),
    one("what the other of two lacks", "decisions", access._both, "if not other.allow:", NEVER),
    one("a wall is looked at", "decisions", access.decide, "if wall is None:", "if True:"),
    one("a wall hides", "decisions", access.decide, "if not shared.visible:", NEVER),
    one("somebody is on duty", "decisions", access.decide, "if wall.until_ms is None or now_ms >= wall.until_ms:",
        NEVER),
    one("a shift is not over", "decisions", access.decide, " or now_ms >= wall.until_ms", ""),
    one("a wall is for looking", "cells", access.decide, "if both.visible and function not in ON_WALLS:", NEVER),
    one("a wall has the roles of its account", "decisions", access._shared_account, "roles=wall.roles, ", ""),
    one("a posting gives no role", "decisions", access._posted, "roles=frozenset(), ", ""),
    one("originals are evidence", "decisions", access._decide,
        "if facts.original and function is Function.EXPORT:", NEVER),
    one("evidence is for persons", "decisions", access._evidence, 'if principal.kind != "user":', NEVER),
    one("end of a credential", "decisions", access._over,
        "principal.expires_ms is not None and now_ms >= principal.expires_ms", "False"),
    one("lease: its end", "decisions", access.lease_as_grant,
        "lease.ended_ms is not None or now_ms >= lease.expires_ms", "False"),
    one("lease: its persons", "decisions", LeaseFact.names,
        "name in (principal.name, principal.login, \"*\")", "True"),
    one("lease: its unit", "decisions", LeaseFact.names,
        '(unit == principal.unit or (not unit and name != "*"))', "True"),
    one("lease: confirmation", "decisions", access.lease_as_grant, "if now_ms >= lease.confirm_by_ms:", NEVER),
    one("lease: within the role", "decisions", access._lease_grants,
        "g if within is None else replace(g, functions=g.functions & within)", "g"),
    one("lease: of this node", "decisions", access._speaking,
        'lease.side == "granted" and lease.node == principal.id', 'lease.side == "granted"'),
    one("lease: of this direction", "decisions", access._speaking,
        'lease.side == "granted" and lease.node == principal.id', "lease.node == principal.id"),
    one("lease: the one that is asked under", "decisions", access._speaking, "lease.id == facts.lease_id", "True"),
    # its enforcement
    one("the gate asks for a role", "staff", Gate.__call__,
        "if policy.roles and policy.roles.isdisjoint(principal.roles):", NEVER),
    one("the gate asks for a person", "staff", Gate.__call__,
        'if (policy.users_only or policy.roles) and principal.kind != "user":', NEVER),
    one("the gate keeps walls to looking", "staff", Gate.__call__,
        "if principal.wall is not None and (policy.users_only or policy.roles) and not policy.on_walls:", NEVER),
    one("the gate asks who is on duty", "staff", Gate.__call__,
        "if principal.wall is not None and principal.wall.until_ms is None and not policy.while_off_duty:", NEVER),
    one("a look at a wall is one person's", "running", Principals.again, 'if found.id != reference["id"]:', NEVER),
    one("a shift that was ended", "running", shifts._running, "_c.ended_ms.is_(None) & ", ""),
    one("the gate asks for a changed password", "staff", Gate.__call__,
        "if principal.must_change and not policy.while_must_change:", NEVER),
    one("the gate decides the function", "cells", Gate.__call__, "if policy.function is not None:", NEVER),
    Mutant("visibility, of which the gate and the route each ask", "cells", (
        (Gate.__call__, "elif policy.camera:", "elif False:"),
        (Looks.require_visible, "if camera is None or not decision.visible:", "if camera is None:"),
    )),
    one("a look is decided", "cells", Looks.decide, "if camera is None or not decision.allow:", "if camera is None:"),
    one("pictures at once are counted when one is opened", "running", Looks.begin, "if not again.allow:", NEVER),
    one("other sites", "cells", Guard._check_origin,
        'if _origin(origin) not in (self._public, f"{scheme}://{host}".lower()):', NEVER),
    one("revocation of a token", "staff", tokens.standing, "if row.revoked_ms is not None:", NEVER),
    Mutant("validity of a token", "staff", (
        (Tokens.verify, 'if claims["exp"] * 1000 <= now_ms:', NEVER),
        (tokens.standing, "if now_ms >= row.expires_ms:", NEVER),
    )),
    one("beginning of a token", "staff", Tokens.verify, 'if claims["nbf"] * 1000 > now_ms + 1000:', NEVER),
    one("subject of a token", "staff", Tokens.require, " or row.department_id != claims.department_id", ""),
    one("grant of a token", "staff", Tokens.require, " or row.grant != claims.grant", ""),
    one("end of a token as signed", "staff", Tokens.require,
        "if row.expires_ms // 1000 * 1000 != claims.expires_ms:", NEVER),
    one("signing out", "staff", Principals.by_session, " or row.ended_ms is not None", ""),
    one("end of a session", "staff", Principals.by_session, " or now_ms >= row.expires_ms", ""),
    one("disabled people", "staff", Principals.by_session, "if user is None or user.disabled_ms is not None:",
        "if user is None:"),
    one("a path is of one address", "paths", MediaSessions.check,
        'if client is not None and held.row.principal.get("client") not in (None, client):', NEVER),
    one("a path ends with its look", "paths", MediaSessions.check, "if held.look.ended.is_set():", NEVER),
    one("a path that is over is not taken up again", "paths", MediaSessions._adopt, " or row.ended_ms is not None", ""),
    # over RTSP
    one("pictures that should carry a name", "rtsp", access._decide,
        "if facts.unmarked and watermarked(principal, resource.origin) and not principal.unmarked:", NEVER),
    one("a stream password narrows its owner", "rtsp", access.narrowed, "narrow(grant, by)", "grant"),
    one("a stream password has no role", "rtsp", access.narrowed, "roles=frozenset(), ", ""),
    one("end of a stream password", "rtsp", Principals.by_stream_password, "row.revoked_ms is not None", "False"),
    one("validity of a stream password", "rtsp", Principals.by_stream_password, "now_ms >= row.expires_ms", "False"),
    one("a stream password waits for its owner's first", "rtsp", principals.within, "if owner.must_change:", NEVER),
    one("the answer to the challenge", "rtsp", digest.fits,
        "hmac.compare_digest(wanted.encode(), answer.response.encode())", "True"),
    one("the gate of RTSP", "rtsp", Connection._admit, "if policy.function is not None:", NEVER),
    one("the session of RTSP", "rtsp", Connection._admit, "if policy.path_session:", NEVER),
    one("running looks are decided again", "running", Looks._review_one, "if decision.allow:", "if True:"),
    # handing on
    one("narrowing: functions", "narrowings", grants.narrow, "grant.functions & by.functions", "grant.functions"),
    one("narrowing: cameras", "narrowings", grants.narrow, "(*grant.within, by.resources, *by.within)", "grant.within"),
    one("narrowing: ends", "narrowings", grants.least, "min(a, b)", "max(a, b)"),
    one("narrowing: beginnings", "narrowings", grants._most, "max(a, b)", "min(a, b)"),
    one("narrowing: stream", "narrowings", grants.lower_stream, "a == b == \"main\"", "a == \"main\" or b == \"main\""),
    one("narrowing: pictures at once", "narrowings", grants.narrow, "least(a.max_streams, b.max_streams)",
        "a.max_streams"),
    one("narrowing: purposes", "narrowings", grants._both_purposes, "a & b", "a | b"),
    one("narrowing: week", "narrowings", grants._both_weekly, "x.days & y.days", "x.days"),
    one("narrowing: networks", "narrowings", grants._both_networks, "x if x.prefixlen >= y.prefixlen else y", "x"),
]  # fmt: skip


def _code(function: FunctionType, old: str, new: str) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(old) == 1, (function.__qualname__, old, source.count(old))
    flags = __future__.annotations.compiler_flag
    module = compile(source.replace(old, new), inspect.getfile(function), "exec", flags=flags, dont_inherit=True)
    code = next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == function.__name__)
    assert code.co_freevars == function.__code__.co_freevars
    return code


@contextlib.contextmanager
def living(mutant: Mutant) -> Iterator[None]:
    codes = [(function, _code(function, old, new)) for function, old, new in mutant.edits]
    before = [function.__code__ for function, _ in codes]
    for function, code in codes:
        function.__code__ = code
    try:
        yield
    finally:
        for (function, _), code in zip(codes, before, strict=True):
            function.__code__ = code


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crowd]:
    async with crowd_in(tmp_path_factory.mktemp("mutants")) as made:
        yield made


def _short() -> dict[str, str]:
    """One route for each demand, and two for those by which a camera is shown."""
    found: dict[str, str] = {}
    kept: dict[str, int] = {}
    for cell, demanded in ROUTES.items():
        most = 2 if demanded in ("camera", "live") else 0 if demanded in ("public", "path") else 1
        if kept.get(demanded, 0) < most and cell not in matrix.ENDS:
            kept[demanded] = kept.get(demanded, 0) + 1
            found[cell] = demanded
    return dict(sorted(found.items(), key=lambda item: item[1] != "playback"))  # of that there is most to miss


async def _cells(crowd: Crowd, of_cameras: bool) -> list[str]:
    """The first wrong cell of the short matrix."""
    for cell, demanded in _short().items():
        if (demanded in matrix.OF_A_CAMERA) != of_cameras:
            continue
        for caller in crowd.callers:
            if caller.only_cameras and not of_cameras:
                continue
            wanted = expected(caller, cell, demanded)
            answer = await ask_cell(crowd, cell, caller)
            if matrix.wrong(answer, wanted, demanded):
                return [f"{cell} for {caller.name}: {answer.status} {answer.code}, not {wanted}"]
    return []


async def _camera_cells(crowd: Crowd) -> list[str]:
    return await _cells(crowd, True)


async def _staff_cells(crowd: Crowd) -> list[str]:
    return await _cells(crowd, False)


async def _decisions(crowd: Crowd) -> list[str]:
    return decision_cells()


async def _narrowings(crowd: Crowd) -> list[str]:
    return widenings(1_500, 5, Tally())


async def _rtsp(crowd: Crowd) -> list[str]:
    return (await method_cells(crowd))[0]


KILLERS: dict[str, Callable[[Crowd], Awaitable[list[str]]]] = {
    "cells": _camera_cells,
    "staff": _staff_cells,
    "decisions": _decisions,
    "paths": path_cells,
    "running": running_cells,
    "rtsp": _rtsp,
    "narrowings": _narrowings,
}


async def _killed_by(crowd: Crowd, mutant: Mutant) -> str | None:
    for name in sorted(KILLERS, key=lambda n: n != mutant.by):
        crowd.site.services.watch.bump()  # what was read before is not remembered
        try:
            found = await KILLERS[name](crowd)
        except Exception as exc:  # a mutant may also break down
            found = [repr(exc)]
        if found:
            return f"{name}: {found[0]}"
    return None


@pytest.mark.asyncio(loop_scope="module")
async def test_nobody_misses_anything_while_nothing_is_missing(crowd: Crowd) -> None:
    for name, killer in KILLERS.items():
        assert await killer(crowd) == [], name


@pytest.mark.fault("S1")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
async def test_every_check_is_missed_when_it_is_deleted(crowd: Crowd, mutant: Mutant) -> None:
    with living(mutant):
        killed = await _killed_by(crowd, mutant)
    assert killed is not None, f"{mutant.name} survives: no test would miss this check"
    assert killed.startswith(mutant.by), killed


def test_a_mutant_that_deletes_nothing_survives() -> None:
    harmless = one("nothing", "cells", access._over, "now_ms >= ", "not now_ms < ")
    with living(harmless):
        assert decision_cells() == []
