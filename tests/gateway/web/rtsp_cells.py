"""The access matrix at the RTSP port: every method × everybody, told as lists of what went wrong.

As in `matrix`, what must come of a cell is said here a second time and taken from nothing in the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

from gateway.access import stream_passwords as secrets
from gateway.access.ids import fresh_id
from gateway.rtsp.server import RtspServer
from storage.catalog import grants, people, stream_passwords
from storage.catalog.stream_passwords import StreamPasswordRow
from storage.catalog.tables import token as token_table
from tests.gateway.rtsp.talk import OVER_TCP, Answer, Client
from tests.gateway.web.matrix import IN, MINUTE, OWNER, Crowd
from tests.gateway.web.routes_table import RTSP

WRONG = "wrong password"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and what must come of it where a method demands live."""

    name: str
    login: tuple[str, str] | None
    wanted: str | tuple[int, str]
    camera: str = "mine"


class Passwords:
    """Writes stream passwords into the catalog, also such as the API would refuse to make."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def give(self, kind: str, owner: str, *names: str, **more: Any) -> tuple[str, str]:
        """(name, password)."""
        site, password = self._crowd.site, secrets.fresh_password()
        id_ = fresh_id(site.clock)
        cameras = tuple(self._crowd.cameras[name] for name in names or ("mine",))
        now_ms = site.now_ms()
        row = StreamPasswordRow(
            id_, kind, owner, "cell", cameras, "main", None, "agreement", id_, now_ms, "admin", now_ms + 60 * MINUTE
        )

        def make(connection: Any) -> None:
            secrets.keep(connection, site.clock, site.services.secrets, id_, password)
            stream_passwords.add(connection, replace(row, **more))

        site.catalog.write(make)
        return id_, password.reveal()


def readers(crowd: Crowd) -> list[Reader]:
    site, make, give = crowd.site, crowd.make, Passwords(crowd).give
    now_ms = site.now_ms()
    token = make.row("RTSP")
    person, session = make.person(f"reader {make.fresh()}", "operator")
    right = give("token", token.jti)
    revoked = give("token", token.jti)
    site.catalog.write(lambda c: stream_passwords.revoke(c, revoked[0], "admin", now_ms))
    dead, brief = make.row("RTSP, revoked"), make.row("RTSP, brief")
    site.catalog.write(lambda c: grants.revoke_token(c, dead.jti, "admin", now_ms))
    ended = token_table.update().where(token_table.c.jti == brief.jti).values(expires_ms=now_ms)
    site.catalog.write(lambda c: c.execute(ended))
    disabled, _ = make.person(f"reader {make.fresh()}", "operator", disabled_ms=now_ms)
    new, _ = make.person(f"reader {make.fresh()}", "operator", must_change=True)
    denied, _ = make.person(f"reader {make.fresh()}", "operator")
    make.give("user", denied, "live", effect="deny")
    weekday = (now_ms // 86_400_000 + 3) % 7 + 1
    closed, _ = make.person(f"reader {make.fresh()}")
    make.give("user", closed, "live", weekly=[{"days": [(weekday + 2) % 7 + 1], "from_minute": 0, "to_minute": 1440}])
    drills, _ = make.person(f"reader {make.fresh()}")
    make.give("user", drills, "live", purposes=["drill"])
    theirs, _ = make.person(f"reader {make.fresh()}", department=make.foreign)
    ours, _ = make.person(f"reader {make.fresh()}", department=OWNER)
    hidden, over = (404, "access.not_found"), (401, "access.stream_password_over")
    found = [
        Reader("nobody", None, (401, "access.not_signed_in")),
        Reader("a wrong password", (right[0], WRONG), (401, "access.bad_login")),
        Reader("a name that is none", ("admin", right[1]), (401, "access.bad_login")),
        Reader("a token for a password", (token.jti, site.services.tokens.sign(token)), (401, "access.bad_login")),
        Reader("a session for a password", (right[0], session), (401, "access.bad_login")),
        Reader("expired", give("token", token.jti, expires_ms=now_ms), over),
        Reader("revoked", revoked, over),
        Reader("of a revoked token", give("token", dead.jti), (401, "access.token_revoked")),
        Reader("of an expired token", give("token", brief.jti), (401, "access.token_expired")),
        Reader("of somebody disabled", give("user", disabled), (401, "access.user_disabled")),
        Reader("of somebody with a first password", give("user", new), (403, "access.must_change")),
        Reader("of nobody", give("user", "01K0"), (401, "access.user_disabled")),
        Reader("other camera", give("token", token.jti, "other"), hidden),
        Reader("more than its owner", give("token", make.row("RTSP, other", "other").jti), hidden),
        Reader("unknown camera", give("user", person, "mine", "unknown"), hidden, "unknown"),
        Reader("removed camera", give("user", person, "mine", "removed"), hidden, "removed"),
        Reader("secret camera by role", give("user", person, "secret"), hidden, "secret"),
        Reader("unshared camera", give("token", make.row("RTSP, unshared", "private").jti, "private"), hidden,
               "private"),
        Reader("other department", give("user", theirs, "private"), hidden, "private"),
        Reader("own department", give("user", ours, "private"), IN, "private"),
        Reader("owner without live", give("token", make.row("RTSP, stills", "mine", "snapshot").jti), hidden),
        Reader("denied live", give("user", denied), hidden),
        Reader("closed this day", give("user", closed), (403, "access.outside_week")),
        Reader("for drills", give("user", drills), (403, "access.purpose")),
        Reader("wrong network", give("token", token.jti, networks=("10.9.0.0/16",)), (403, "access.network")),
        Reader("owner's wrong network", give("token", make.row("RTSP, net", networks=["10.9.0.0/16"]).jti),
               (403, "access.network")),
        Reader("small stream", give("token", token.jti, max_stream="sub"), (403, "access.sub_only")),
        Reader("owner's small stream", give("token", make.row("RTSP, small", max_stream="sub").jti),
               (403, "access.sub_only")),
        Reader("unmarked without a basis", give("token", token.jti, unmarked_basis=""),
               (403, "access.stream_unmarked")),
        Reader("a person's without a basis", give("user", person, unmarked_basis=""), IN),
        Reader("right network", give("token", token.jti, networks=("127.0.0.0/8",)), IN),
        Reader("the right one", right, IN),
        Reader("a person", give("user", person), IN),
    ]  # fmt: skip
    site.services.watch.bump()
    return found


@contextlib.asynccontextmanager
async def rtsp_of(crowd: Crowd) -> AsyncIterator[tuple[RtspServer, int]]:
    server = RtspServer(crowd.site.services, crowd.site.services.parts["live"])
    server._login_limit._most = 1_000_000  # the crowd's clock stands: no try would ever be forgotten
    bound = socket.create_server(("127.0.0.1", 0))
    async with server.serving({"rtsp": bound}):
        yield server, bound.getsockname()[1]


@contextlib.asynccontextmanager
async def client_of(port: int) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection("127.0.0.1", port))
    try:
        yield client
    finally:
        await client.close()


async def ask(port: int, method: str, url: str, reader: Reader) -> Answer:
    """On a connection of its own; PLAY after a SETUP, where that was let through."""
    async with client_of(port) as client:
        session = "0" * 32
        if reader.login is None:
            return await client.ask(method, url, Transport=OVER_TCP, Session=session)
        assert (await client.ask("DESCRIBE", url)).status == 401
        if method == "PLAY":
            setup = await client.ask("SETUP", url, reader.login, Transport=OVER_TCP)
            session = setup.session or session
        return await client.ask(method, url, reader.login, Transport=OVER_TCP, Session=session)


async def method_cells(crowd: Crowd) -> tuple[list[str], int]:
    """(what is wrong with methods for everybody, how many were asked)."""
    bad, asked = list[str](), 0
    async with rtsp_of(crowd) as (_, port):
        for reader in readers(crowd):
            url = f"rtsp://127.0.0.1:{port}/{crowd.cameras[reader.camera]}/main"
            for method, demanded in RTSP.items():
                answer, asked = await ask(port, method, url, reader), asked + 1
                got = IN if answer.status == 200 else (answer.status, answer.code)
                wanted: object = reader.wanted
                if demanded != "live":
                    wanted = IN if demanded == "public" else (454, "")
                if got != wanted or ("口岸".encode() in answer.body and wanted != IN):
                    bad.append(f"{method} for {reader.name}: {got}, not {wanted}")
    return bad, asked


async def running_rtsp_cells(crowd: Crowd) -> list[str]:
    """What is wrong with streams that run while the right to them is taken away; an untouched one goes on."""
    site, bad, give = crowd.site, list[str](), Passwords(crowd).give
    person, _ = crowd.make.person(f"passing reader {crowd.make.fresh()}", "operator")
    cut, short = crowd.make.row("RTSP, cut"), crowd.make.row("RTSP, short", minutes=2)
    kept = crowd.make.row("RTSP, kept")
    logins = {
        "a revoked token's": give("token", cut.jti),
        "an expired token's": give("token", short.jti),
        "a revoked one": give("token", kept.jti),
        "an expired one": give("token", kept.jti, expires_ms=site.now_ms() + 2 * MINUTE),
        "a person's without the role": give("user", person),
        "untouched": give("token", kept.jti),
    }
    async with rtsp_of(crowd) as (server, port), contextlib.AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(client_of(port)) for name in logins}
        for name, login in logins.items():
            await clients[name].play(f"rtsp://127.0.0.1:{port}/{crowd.cameras['mine']}/main", login)
            await clients[name].media(2)
        await site.services.looks.review()
        if server.streams != len(logins):
            bad.append("a stream ended before anything happened")

        def take(connection: Any) -> None:
            grants.revoke_token(connection, cut.jti, "admin", site.now_ms())
            stream_passwords.revoke(connection, logins["a revoked one"][0], "admin", site.now_ms())
            people.change_user(connection, person, {"roles": []})

        site.catalog.write(take)
        site.services.watch.bump()
        site.clock.advance(121)
        await site.services.looks.review()
        for name, client in clients.items():
            if name == "untouched":
                continue
            try:
                await client.until_closed()
            except TimeoutError:
                bad.append(f"{name} goes on")
        if (await clients["untouched"].ask("OPTIONS", "*")).status != 200 or server.streams != 1:
            bad.append("a stream was cut that nobody touched")
        site.clock.step_wall(-121)
    return bad
