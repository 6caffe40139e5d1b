"""The RTSP side of a `Rig`, a client that speaks bytes, and stream passwords as the API makes them.

The client is written from RFC 2326 and RFC 7616 and shares no line with the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from config.ids import ulid
from gateway.rtsp.connection import Limits
from gateway.rtsp.server import RtspServer
from storage.catalog import cameras, grants, places
from storage.catalog.grants import TokenRow
from storage.media.access_unit import AccessUnit
from tests.gateway.live.serving import shifted
from tests.gateway.watching import Rig
from tests.media import access_units, encode_h264, stream_config

PACKETS = encode_h264(2.0, gop=25)
CONFIG = stream_config("h264", PACKETS)
UNITS = access_units("h264", PACKETS)
OVER_TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


def again(turn: int) -> list[AccessUnit]:
    return shifted(UNITS, turn * 180_000)


@dataclass(slots=True)
class Served:
    node: Rig
    server: RtspServer
    port: int
    clients: list[Client] = field(default_factory=list)

    def url(self, camera: str | None = None, stream: str = "main") -> str:
        return f"rtsp://127.0.0.1:{self.port}/{camera or self.node.camera_id}/{stream}"

    async def client(self) -> Client:
        """Closed with the server, if not before."""
        made = Client(*await asyncio.open_connection("127.0.0.1", self.port))
        self.clients.append(made)
        return made


@contextlib.asynccontextmanager
async def served(node: Rig, limits: Limits | None = None, send_bytes: int | None = None) -> AsyncIterator[Served]:
    """`send_bytes`: so little does the kernel hold for a client that does not read."""
    server = RtspServer(node.services, node.live, limits)
    bound = socket.create_server(("127.0.0.1", 0))
    if send_bytes is not None:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    async with server.serving({"rtsp": bound}):
        made = Served(node, server, bound.getsockname()[1])
        try:
            yield made
        finally:
            for client in made.clients:
                await client.close()


async def shared_token(node: Rig, *functions: str, **conditions: Any) -> tuple[str, str]:
    """(jti, text) of a department's token for the rig's camera, which is shared from now on."""
    now_ms = node.services.now_ms() // 1000 * 1000
    department, jti = (ulid(now_ms, os.urandom(10)) for _ in range(2))
    ends_ms = now_ms + conditions.pop("minutes", 60) * 60_000
    grant = {
        "effect": "allow",
        "resources": {"cameras": [node.camera_id]},
        "functions": list(functions or ("live",)),
        "conditions": conditions,
    }
    row = TokenRow(jti, department, "教育局", "school gate", grant, now_ms, ends_ms, "admin")

    def make(connection: Connection) -> None:
        places.add_department(connection, department, f"教育局 {jti}", "210102", now_ms)
        cameras.change_camera(connection, node.camera_id, {"sharing": "departments"}, now_ms)
        grants.add_token(connection, row)

    await node.services.write(make)
    return jti, node.services.tokens.sign(row)


async def stream_password(node: Rig, owner: str = "", **more: Any) -> dict[str, Any]:
    """As `POST /stream-passwords` answers; of a new operator when no `owner` is named."""
    security = await node.sign_in("security_admin")
    if not owner:
        person = await node.sign_in("operator")
        owner = (await node.http.get("/api/v1/session", headers=person)).json()["login"]
    body = {"owner_kind": "user", "owner": owner, "label": "recorder", "cameras": [node.camera_id]}
    answer = await node.http.post("/api/v1/stream-passwords", json=body | more, headers=security)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


@dataclass(slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    challenges: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        return self.headers.get("x-tiergate-reason", "")

    @property
    def session(self) -> str:
        return self.headers.get("session", "").partition(";")[0]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.cseq = 0
        self.count = 0
        self.challenges: list[str] = []
        self.frames: list[tuple[int, bytes]] = []

    async def ask(
        self, method: str, uri: str, login: tuple[str, str] | None = None, algorithm: str = "MD5", **headers: str
    ) -> Answer:
        """With `login` the request answers the challenge that came last."""
        self.cseq += 1
        lines = [f"{method} {uri} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if login is not None:
            lines.append(f"Authorization: {self.authorization(method, uri, *login, algorithm)}")
        self.writer.write("\r\n".join((*lines, "", "")).encode())
        return await self.answer()

    async def signed(self, method: str, uri: str, login: tuple[str, str], **headers: str) -> Answer:
        """Asks, is challenged once, and asks again."""
        if not self.challenges:
            assert (await self.ask(method, uri, None, **headers)).status == 401
        return await self.ask(method, uri, login, **headers)

    def authorization(self, method: str, uri: str, user: str, password: str, algorithm: str) -> str:
        def digest(text: str) -> str:
            return hashlib.new("md5" if algorithm == "MD5" else "sha256", text.encode()).hexdigest()

        challenge = next(c for c in self.challenges if f"algorithm={algorithm}" in c)
        fields = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        secret, request = digest(f"{user}:{fields['realm']}:{password}"), digest(f"{method}:{uri}")
        nonce = fields["nonce"]
        said = f'Digest username="{user}", realm="{fields["realm"]}", nonce="{nonce}", uri="{uri}"'
        if "qop" not in fields:
            answer = digest(f"{secret}:{nonce}:{request}")
            return f'{said}, response="{answer}"'
        self.count += 1
        middle = f"{nonce}:{self.count:08x}:0a4f113b:auth"
        answer = digest(f"{secret}:{middle}:{request}")
        return f'{said}, algorithm={algorithm}, qop=auth, nc={self.count:08x}, cnonce="0a4f113b", response="{answer}"'

    async def answer(self) -> Answer:
        """The next response; frames of media before it are kept in `frames`."""
        async with asyncio.timeout(20):
            while (first := await self.reader.readexactly(1)) == b"$":
                await self._frame()
            head = first + await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            pairs = [line.split(": ", 1) for line in lines[1:] if line]
            headers = {name.lower(): value for name, value in pairs}
            challenges = [value for name, value in pairs if name == "WWW-Authenticate"]
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        self.challenges = challenges or self.challenges
        return Answer(int(lines[0].split()[1]), headers, body, challenges)

    async def _frame(self) -> None:
        channel, high, low = await self.reader.readexactly(3)
        self.frames.append((channel, await self.reader.readexactly(high << 8 | low)))

    async def media(self, frames: int) -> list[tuple[int, bytes]]:
        """So many frames more."""
        async with asyncio.timeout(20):
            wanted = len(self.frames) + frames
            while len(self.frames) < wanted:
                assert await self.reader.readexactly(1) == b"$"
                await self._frame()
        return self.frames[-frames:]

    async def until_closed(self) -> bytes:
        """What still comes; the other end has hung up afterwards."""
        async with asyncio.timeout(20):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""

    async def play(self, uri: str, login: tuple[str, str]) -> str:
        """The id of a session whose pictures come."""
        answer = await self.signed("DESCRIBE", uri, login)
        assert answer.status == 200, (answer.status, answer.code, answer.body)
        setup = await self.signed("SETUP", f"{uri}/trackID=1", login, Transport=OVER_TCP)
        assert setup.status == 200, (setup.status, setup.code)
        playing = await self.signed("PLAY", uri, login, Session=setup.session)
        assert playing.status == 200, (playing.status, playing.code)
        return setup.session

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def login_of(made: dict[str, Any]) -> tuple[str, str]:
    return made["username"], made["password"]
