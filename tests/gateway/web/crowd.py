"""The crowd of the matrix in a site whose one camera really sends pictures; cells that need a course of events.

Belongs here: session paths and running looks, told as lists of what went wrong. The tables are in `matrix`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from config.errors import TiergateError
from gateway.access.ids import hash_of
from gateway.access.looks import Look
from gateway.access.media_sessions import MediaSessions
from gateway.live.service import make_live
from gateway.playback.service import make_playback
from storage.catalog import grants, shifts
from tests.gateway.live.serving import LiveSocket
from tests.gateway.web.matrix import MINUTE, Crowd, ask, crowd_of
from tests.gateway.web.site import site_in
from tests.media import access_units, encode_h264, stream_config
from tiering.access import (
    CameraResource,
    Conditions,
    Facts,
    Function,
    Grant,
    LeaseFact,
    Posting,
    Principal,
    Resources,
    Wall,
    decide,
)


@contextlib.asynccontextmanager
async def crowd_in(folder: Path) -> AsyncIterator[Crowd]:
    packets = encode_h264(0.4)
    with site_in(folder) as site:
        (site.settings.paths.run_dir / "live").mkdir(exist_ok=True)
        live = make_live(site.settings, site.catalog)
        site.services.parts["live"] = live
        site.services.parts["footage"] = make_playback(site.settings, site.clock, site.catalog, "n", live.hub)
        async with LiveSocket(site.settings.paths.run_dir / "live" / "0.sock") as camera:
            camera.config(stream_config("h264", packets))
            camera.push(*access_units("h264", packets)[:2])
            try:
                yield crowd_of(site)
            finally:
                await live.hub.close()


async def path_cells(crowd: Crowd) -> list[str]:
    """What is wrong with session paths: `GET /m/<secret>/index.m3u8` in each state that one can be in."""
    site, paths, bad = crowd.site, crowd.site.services.media_sessions, list[str]()
    low_ms = site.now_ms() - 5 * MINUTE

    async def opened(text: str, address: str = "127.0.0.1") -> str:
        who = await site.services.principals.of_credential(text)
        secret, _ = await paths.open(
            who, Function.PLAYBACK, crowd.cameras["mine"], from_ms=low_ms, to_ms=low_ms + MINUTE, client=address
        )
        return secret

    async def check(what: str, secret: str, *statuses: int, address: str = "127.0.0.1", code: str = "access.") -> None:
        for tail in ("index.m3u8", "init/01K00000000000000000000000.mp4", "seg/01K00000000000000000000000/0.m4s"):
            answer = await ask(site, "GET", f"/m/{secret}/{tail}", address=address)
            if answer.status not in statuses or not answer.code.startswith(code):
                bad.append(f"{what} {tail}: {answer.status} {answer.code}")

    sign, row = site.services.tokens.sign, crowd.make.row("of paths")
    text = sign(row)
    secret = await opened(text)
    await check("its opener", secret, 404, code="media.")  # nothing was recorded, and the path says so
    await check("another address", secret, 404, address="127.0.0.2")
    await check("a guess", secret[:-1] + ("A" if secret[-1] != "A" else "B"), 404)
    over = await opened(text)
    await paths.end(over)
    await check("one that was ended", over, 401, 404)
    site.catalog.write(lambda c: grants.revoke_token(c, row.jti, "admin", site.now_ms()))
    site.services.watch.bump()
    await site.services.looks.review()
    await check("a revoked token's", secret, 401)
    services = site.services
    elsewhere = MediaSessions(site.catalog, site.clock, services.principals, services.looks, services.registers)
    try:
        await elsewhere.check(secret, "127.0.0.1")
        bad.append("another process took up a revoked token's path")
    except TiergateError as refused:
        if refused.http_status not in (401, 404):
            bad.append(f"another process: {refused.http_status}")
    ending = await opened(sign(crowd.make.row("of short paths", minutes=2)))
    site.clock.advance(121)
    await check("an expired token's", ending, 401, 404)
    site.clock.step_wall(-121)
    await paths.tend()
    return bad


async def running_cells(crowd: Crowd) -> list[str]:
    """What is wrong with looks that run while the right to them is taken away; an untouched one goes on."""
    site, bad = crowd.site, list[str]()
    looks = site.services.looks
    sign, row = site.services.tokens.sign, crowd.make.row("running")
    async with contextlib.AsyncExitStack() as stack:

        async def start(credential: str) -> Look:
            who = await site.services.principals.of_credential(credential)
            return await stack.enter_async_context(looks.open(who, Function.LIVE, crowd.cameras["mine"]))

        cut = await start(sign(row))
        kept = await start(crowd.caller("the right one").bearer or "")
        short = await start(sign(crowd.make.row("running out", minutes=2)))
        person, session = crowd.make.person(f"passing {row.jti}")
        crowd.make.give("user", person)
        passing = await start(session)
        alone = sign(crowd.make.row("one at a time", max_streams=1))
        await start(alone)
        try:
            await start(alone)
            bad.append("a second picture was opened under a grant of one")
        except TiergateError as refused:
            if (refused.http_status, refused.reason.code) != (429, "access.too_many_open"):
                bad.append(f"a second picture: {refused.http_status} {refused.reason.code}")
        people = [crowd.make.person(f"{name} {row.jti}", "operator") for name in ("before", "after")]
        _, hall = crowd.make.person(f"hall {row.jti}", "operator", wall=True)
        _, free = crowd.make.person(f"gate {row.jti}", "operator", wall=True)
        crowd.make.shift(hall, people[0][0])
        crowd.make.shift(free, people[0][0])
        over, left = await start(hall), await start(free)
        await looks.review()
        watched = (("cut", cut), ("kept", kept), ("short", short), ("passing", passing), ("over", over), ("left", left))
        for name, look in watched:
            if look.ended.is_set():
                bad.append(f"{name} ended before anything happened")

        def revoke(connection: Connection) -> None:
            grants.revoke_token(connection, row.jti, "admin", site.now_ms())
            for grant in grants.grants_of(connection, [("user", person)]):
                grants.revoke_grant(connection, grant.id, site.now_ms())

        site.catalog.write(revoke)
        crowd.make.shift(hall, people[1][0])
        site.catalog.write(lambda c: shifts.end_on(c, hash_of(free), site.now_ms(), "signed_off"))
        site.services.watch.bump()
        await looks.review()
        if over.end_reason != "revoked":
            bad.append("a look goes on whose person handed the wall over to another")
        if left.end_reason != "revoked":
            bad.append("a look goes on at a wall whose person signed off")
        if passing.end_reason != "revoked":
            bad.append("a look goes on whose grant was taken away")
        if cut.end_reason != "revoked":
            bad.append("a revoked token's look goes on")
        site.clock.advance(121)
        await looks.review()
        if short.end_reason != "expired":
            bad.append("an expired token's look goes on")
        if kept.ended.is_set():
            bad.append("a look was cut that nobody touched")
        site.clock.step_wall(-121)
    return bad


# --- decisions that no route shows by itself -------------------------------------------------------------------------

_NOW = 1_790_000_000_000
_LIVE, _PLAYBACK, _EXPORT = Function.LIVE, Function.PLAYBACK, Function.EXPORT


def _lease(**more: Any) -> LeaseFact:
    base = LeaseFact(
        "L1", "held", "n2", frozenset({"c1"}), frozenset({_LIVE, _PLAYBACK, Function.PTZ}), "main",
        frozenset({("李", "值班室")}), _NOW + 60 * MINUTE, from_ms=_NOW - 120 * MINUTE, to_ms=_NOW,
    )  # fmt: skip
    return replace(base, **more)


def decision_cells() -> list[str]:
    """What is wrong with decisions about another tier's camera, by another tier, and after the end of a credential."""
    duty = Principal("user", "u1", "li", "李", "值班室", roles=frozenset({"duty"}))
    node = Principal("node", "n2", "街道", "街道", "2102")
    camera = CameraResource("c1", ("2102",), sharing="departments")
    by_name = Grant("g", "user", Resources(cameras=frozenset({"c1"})), frozenset({_LIVE}))
    by_one = replace(by_name, conditions=Conditions(max_streams=1))
    exporting = replace(by_name, functions=frozenset({_EXPORT}))
    holding = replace(by_name, functions=frozenset({Function.HOLD}))
    original = Facts(from_ms=_NOW - 5, to_ms=_NOW, purpose="evidence", original=True)
    posting = Posting("d", "u", (replace(by_name, source="department"),), _NOW + 1)
    wall = Wall("w1", "hall", "大屏", None, frozenset({"operator"}), (), _NOW + 1)
    bare, at_wall = replace(wall, roles=frozenset(), until_ms=None), replace(duty, wall=wall)
    empty = Principal("user", "w1", "hall", "大屏", "值班室", wall=replace(wall, until_ms=None))
    late = {"confirm_by_ms": _NOW - 1}
    recorded = Facts(from_ms=_NOW - 5, to_ms=_NOW)
    before = Facts(from_ms=_NOW - 121 * MINUTE, to_ms=_NOW)
    asking = Facts(lease_id="L1")
    table: list[tuple[str, Principal, Function, str, dict[str, Any] | None, Facts, str]] = [
        ("a lease held", duty, _LIVE, "lower", {}, Facts(), "access.allowed"),
        ("no lease", duty, _LIVE, "lower", None, Facts(), "access.lease_needed"),
        ("a lease that is over", duty, _LIVE, "lower", {"expires_ms": _NOW}, Facts(), "access.lease_needed"),
        ("a lease given back", duty, _LIVE, "lower", {"ended_ms": _NOW}, Facts(), "access.lease_needed"),
        ("another person's", replace(duty, name="王"), _LIVE, "lower", {}, Facts(), "access.lease_not_yours"),
        ("another unit's", replace(duty, unit="别处"), _LIVE, "lower", {}, Facts(), "access.lease_not_yours"),
        ("more than the role", replace(duty, roles=frozenset({"auxiliary"})), Function.PTZ, "lower", {}, Facts(),
         "access.role_lacks"),
        ("not in the lease", duty, Function.SNAPSHOT, "lower", {}, Facts(), "access.lease_lacks"),
        ("before its range", duty, _PLAYBACK, "lower", {}, before, "access.footage_outside"),
        ("unconfirmed, recorded", duty, _PLAYBACK, "lower", late, recorded, "access.lease_lacks"),
        ("unconfirmed, main", duty, _LIVE, "lower", late, Facts("main"), "access.sub_only"),
        ("a right of our own at another tier's", replace(duty, roles=frozenset(), grants=(by_name,)), _LIVE, "lower",
         {}, Facts(), "access.not_found"),
        ("a node with its lease", node, _LIVE, "own", {"side": "granted"}, asking, "access.allowed"),
        ("a node with another's lease", node, _LIVE, "own", {"side": "granted", "node": "n3"}, asking,
         "access.not_found"),
        ("a node with a lease of ours", node, _LIVE, "own", {}, asking, "access.not_found"),
        ("a node, another camera", node, _LIVE, "own", {"side": "granted", "cameras": frozenset({"c2"})}, asking,
         "access.not_found"),
        ("a node, before the range", node, _PLAYBACK, "own", {"side": "granted"}, replace(before, lease_id="L1"),
         "access.footage_outside"),
        ("a node with another lease than the one it asks under", node, _LIVE, "own", {"side": "granted", "id": "L2"},
         asking, "access.not_found"),
        ("the only picture", replace(duty, roles=frozenset(), grants=(by_one,)), _LIVE, "own", None,
         Facts(open_looks={"h": 1}), "access.allowed"),
        ("one picture too many", replace(duty, roles=frozenset(), grants=(by_one,)), _LIVE, "own", None,
         Facts(open_looks={"g": 1}), "access.too_many_open"),
        ("posted to a unit that may nothing", replace(duty, posting=replace(posting, grants=())), _LIVE, "own",
         None, Facts(), "access.not_found"),
        ("posted to a unit that may less", replace(duty, posting=posting), _EXPORT, "own", None, recorded,
         "access.posting_lacks"),
        ("posted to a unit that may it", replace(duty, posting=posting), _LIVE, "own", None, Facts(), "access.allowed"),
        ("a posting that is over", replace(duty, posting=replace(posting, until_ms=_NOW)), _EXPORT, "own", None,
         recorded, "access.allowed"),
        ("on duty at a wall", at_wall, _LIVE, "own", None, Facts(), "access.allowed"),
        ("a wall with nobody on duty", empty, _LIVE, "own", None, Facts(), "access.nobody_on_duty"),
        ("nobody on duty at a wall that may nothing", replace(empty, wall=bare), _LIVE, "own", None, Facts(),
         "access.not_found"),
        ("a shift that is over", replace(duty, wall=replace(wall, until_ms=_NOW)), _LIVE, "own", None, Facts(),
         "access.nobody_on_duty"),
        ("a wall that may nothing", replace(duty, wall=replace(bare, until_ms=_NOW + 1)), _LIVE, "own", None, Facts(),
         "access.not_found"),
        ("a wall that may less", replace(duty, wall=replace(wall, roles=frozenset({"auxiliary"}))), Function.PTZ, "own",
         None, Facts(), "access.wall_lacks"),
        ("somebody on duty who may nothing", replace(at_wall, roles=frozenset()), _LIVE, "own", None, Facts(),
         "access.not_found"),
        ("somebody on duty who may less", replace(at_wall, roles=frozenset({"auxiliary"})), Function.PTZ, "own", None,
         Facts(), "access.no_function"),
        ("more than looking at a wall", at_wall, Function.SNAPSHOT, "own", None, Facts(), "access.wall_function"),
        ("a lease held at a wall", at_wall, _LIVE, "lower", {}, Facts(), "access.allowed"),
        ("an original, held by role", duty, _EXPORT, "own", None, original, "access.allowed"),
        ("an original, by export alone", replace(duty, roles=frozenset(), grants=(exporting,)), _EXPORT, "own", None,
         original, "access.original"),
        ("an original, by token", Principal("token", "j1", "l", "l", "教育局", grants=(exporting, holding)), _EXPORT,
         "own", None, original, "access.original"),
        ("an original of another tier", duty, _EXPORT, "lower", {"functions": frozenset({_EXPORT})}, original,
         "access.allowed"),
        ("a credential that is over", replace(duty, expires_ms=_NOW), _LIVE, "own", None, Facts(), "access.not_found"),
    ]  # fmt: skip
    bad = []
    for name, who, function, origin, lease, facts, code in table:
        leases = () if lease is None else (_lease(**lease),)
        asked = replace(camera, origin=origin, leases=leases)  # type: ignore[arg-type]  # one of the two words
        got = decide(who, function, asked, _NOW, facts).reason.code
        if got != code:
            bad.append(f"{name}: {got}, not {code}")
    return bad
