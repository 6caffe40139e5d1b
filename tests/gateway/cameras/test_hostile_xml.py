"""XML that devices send to break its reader, by discovery and by ONVIF (FAULTS S9, S10).

The entities name a file and a web server of ours: whoever read or fetched would be seen to.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer as TestServer

from config.clock import SystemClock
from config.errors import TiergateError
from config.redact import Secret
from config.settings import build
from gateway.cameras import device_xml, discovery, onboarding, onvif
from tests.parts.impostors import Answer, Impostor
from tests.parts.onvif_ipycam import OnvifCamera

SETTINGS = build({"cameras": {"allowed_networks": ["127.0.0.0/8"], "connect_timeout_s": 2}})
SECRET = "C4nary-in-a-file"  #: one word: scopes and addresses are cut at spaces
MOST_BYTES = 20 << 20  #: of memory, for one answer
_ENVELOPE = (
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery">'
    "<e:Body><d:ProbeMatches><d:ProbeMatch>{0}<d:Scopes>onvif://www.onvif.org/name/{1}</d:Scopes>"
    "<d:XAddrs>http://10.1.2.3/{1}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"
)


def payloads(port: int, file: Path) -> dict[str, bytes]:
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    quadratic = f'<!ENTITY q "{"q" * 50_000}">'
    web = f"http://127.0.0.1:{port}/x"

    def told(dtd: str, used: str, before: str = "") -> str:
        return f"<?xml version='1.0'?><!DOCTYPE x [{dtd}]>" + _ENVELOPE.format(before, used)

    made = {  # first what a reader that is open to all would give away at once; some of the others it would never end
        "a file": told(f'<!ENTITY f SYSTEM "file://{file}">', "&f;"),
        "a billion laughs": told(f'<!ENTITY l0 "lol">{laughs}', "&l9;"),
        "a billion laughs in an attribute": told(f'<!ENTITY l0 "lol">{laughs}', "x", '<a b="&l9;"/>'),
        "a quadratic blow-up": told(quadratic, "&q;" * 5_000),
        "an entity of itself": told('<!ENTITY a "&b;"><!ENTITY b "&a;">', "&a;"),
        "a device without end": told('<!ENTITY f SYSTEM "file:///dev/zero">', "&f;"),
        "a web page": told(f'<!ENTITY f SYSTEM "{web}">', "&f;"),
        "a document type from the web": f'<?xml version="1.0"?><!DOCTYPE x SYSTEM "{web}">' + _ENVELOPE.format("", "x"),
        "a parameter entity": told(f'<!ENTITY % p SYSTEM "{web}"> %p;', "x"),
        "an entity that is public": told(f'<!ENTITY f PUBLIC "x" "{web}">', "&f;"),
        "an inclusion": _ENVELOPE.format(
            f'<i:include xmlns:i="http://www.w3.org/2001/XInclude" href="file://{file}" parse="text"/>', "x"
        ),
        "a style sheet": f'<?xml-stylesheet type="text/xsl" href="{web}"?>' + _ENVELOPE.format("", "x"),
        "a schema elsewhere": _ENVELOPE.format(
            f'<a xmlns:s="http://www.w3.org/2001/XMLSchema-instance" s:noNamespaceSchemaLocation="{web}"/>', "x"
        ),
        "elements without bottom": _ENVELOPE.format("<a>" * 5_000 + "</a>" * 5_000, "x"),
        "a name of a megabyte": _ENVELOPE.format(f"<{'a' * 900_000}/>", "x"),
    }  # fmt: skip
    found = {name: text.encode() for name, text in made.items()}
    for coding in ("utf-16", "utf-32", "utf-7"):  # a document type that a search for its bytes does not see
        text = made["a file"].replace("<?xml version='1.0'?>", f"<?xml version='1.0' encoding='{coding}'?>")
        found[f"a file, in {coding}"] = text.encode(coding)
        bomb = made["a billion laughs"].replace("<?xml version='1.0'?>", f"<?xml version='1.0' encoding='{coding}'?>")
        found[f"a billion laughs, in {coding}"] = bomb.encode(coding)
    return found


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fault("S10")
def test_a_discovery_answer_expands_fetches_and_reads_nothing(
    tmp_path: Path, counted: Callable[[object], None]
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with Impostor() as canary:
        before = resident_bytes()
        for name, data in payloads(canary.port, file).items():
            found = discovery.parse_answer(data)
            assert found is None or (len(found.url) <= 300 and len(found.name) <= 120), name
            assert SECRET not in repr(found) and "lol" not in repr(found), name
        grown = resident_bytes() - before
        assert canary.knocks == 0
    counted(f"{len(payloads(1, file))} hostile documents, memory {grown >> 20} MiB more, knocks {canary.knocks}")
    assert grown < MOST_BYTES


async def _described(port: int) -> str:
    with pytest.raises(TiergateError) as refused:
        await onboarding.describe(
            SETTINGS, SystemClock(), onvif=f"127.0.0.1:{port}", username="a", password=Secret("b")
        )
    return f"{refused.value.reason.code} {refused.value}"


def _answer(data: bytes) -> Answer:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: {len(data)}\r\n"
    whole = head.encode() + b"Connection: close\r\n\r\n" + data
    return lambda request: whole


class Endless(Impostor):
    """Begins an answer, and never comes to an end."""

    sent = 0

    def __init__(
        self,
        begins: bytes = b"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nTransfer-Encoding: chunked\r\n\r\n",
        goes_on: bytes = b"10000\r\n" + b"<a>" * 21_845 + b" \r\n",
    ) -> None:
        super().__init__()
        self._begins, self._goes_on = begins, goes_on

    def _talk(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(self._begins)
            while True:
                connection.sendall(self._goes_on)
                self.sent += len(self._goes_on)


def _unpacks(size: int) -> Answer:
    data = gzip.compress(bytes(size), 9)
    kind = "Content-Type: application/soap+xml\r\nContent-Encoding: gzip\r\nConnection: close"
    head = f"HTTP/1.1 200 OK\r\n{kind}\r\nContent-Length: {len(data)}\r\n\r\n"
    return lambda request: head.encode() + data


@pytest.mark.real
@pytest.mark.fault("S9")
async def test_an_answer_without_end_is_cut_at_a_mebibyte(counted: Callable[[object], None]) -> None:
    with Endless() as device:
        said = await _described(device.port)
        sent, knocks = device.sent, device.knocks
    counted(f"connections {knocks}, taken from a device without end {sent >> 10} KiB")
    assert said.startswith("camera.onvif_unreachable") and "longer than 1 MiB" in said
    assert 0 < sent < knocks * (8 << 20)  # what lay in buffers on the way counts as taken
    with Impostor(_unpacks(200 << 20)) as device:
        before = resident_bytes()
        assert "longer than 1 MiB" in await _described(device.port)
        assert resident_bytes() - before < MOST_BYTES


@pytest.mark.real
@pytest.mark.fault("S9")
async def test_no_attack_of_a_device_costs_50_mib_or_a_second_of_a_core(counted: Callable[[object], None]) -> None:
    """CPU time of this thread, which waits for the device otherwise: a busy machine does not add to it."""
    ok = b"HTTP/1.1 200 OK\r\n"
    bomb = payloads(1, Path("/dev/zero"))["a billion laughs in an attribute"]
    attacks: dict[str, Callable[[], Impostor]] = {
        "heads without end": lambda: Endless(ok, b"X-Header: " + b"x" * 1_000 + b"\r\n"),
        "a head line without end": lambda: Endless(ok + b"X-Header: ", b"x" * 65_536),
        "a status line without end": lambda: Endless(b"HTTP/1.1 200 ", b"x" * 65_536),
        "provisional answers without end": lambda: Endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
        "a body without end": Endless,
        "a length of a tebibyte": lambda: Endless(ok + b"Content-Length: 1099511627776\r\n\r\n", b"<a>" * 20_000),
        "a chunk of a tebibyte": lambda: Endless(
            ok + b"Transfer-Encoding: chunked\r\n\r\n10000000000\r\n", b"<a>" * 20_000
        ),
        "chunks of one byte": lambda: Endless(ok + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n<\r\n" * 5_000),
        "a body that unpacks to 200 MiB": lambda: Impostor(_unpacks(200 << 20)),
        "an XML bomb": lambda: Impostor(_answer(bomb)),
        "a redirect to itself": lambda: Impostor(
            lambda request: (
                b"HTTP/1.1 302 Found\r\nLocation: " + request.split(b" ", 2)[1] + b"\r\nContent-Length: 0\r\n\r\n"
            )
        ),
    }
    with Impostor(lambda request: b"") as silent:  # the library is loaded before anything is counted
        await _described(silent.port)
    seen = {}
    for name, attack in attacks.items():
        with attack() as device:
            memory, cpu_s = resident_bytes(), time.thread_time()
            said = await _described(device.port)
            seen[name] = (resident_bytes() - memory, time.thread_time() - cpu_s)
            assert device.knocks, name
        assert said.startswith("camera."), (name, said)
        counted(f"{name}: {seen[name][0] >> 20} MiB more, {seen[name][1]:.2f} s of a core, {device.knocks} connections")
    assert all(grown <= 50 << 20 and cpu_s <= 1 for grown, cpu_s in seen.values()), seen


@pytest.mark.real
async def test_an_answer_in_many_pieces_is_read_to_its_end() -> None:
    """A recorder's list of channels does not fit into one packet."""
    whole = b"<a/>" * 200_000

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for at in range(0, len(whole), 100_000):
            await response.write(whole[at : at + 100_000])
            await asyncio.sleep(0.001)  # so that the pieces are pieces
        return response

    async with TestServer(answer) as server, aiohttp.ClientSession(response_class=onvif.BoundedResponse) as session:
        async with session.get(server.make_url("/")) as response:
            assert await response.read() == whole
            assert await response.read() == whole  # as often as it is asked
        async with session.get(server.make_url("/")) as response:
            assert await response.text() == whole.decode()


@pytest.mark.real
@pytest.mark.fault("S9", "S10")
async def test_a_device_that_answers_with_it_is_refused_in_one_sentence(
    tmp_path: Path, counted: Callable[[object], None]
) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with Impostor() as canary:
        with Impostor(lambda request: b"") as silent:  # the library is loaded before memory is looked at
            await _described(silent.port)
        before, asked = resident_bytes(), 0
        for name, data in payloads(canary.port, file).items():
            with Impostor(_answer(data)) as device:
                said = await _described(device.port)
                assert device.knocks, name
                asked += device.knocks
            assert said.startswith("camera.") and SECRET not in said and "lollol" not in said, (name, said)
        grown = resident_bytes() - before
        assert canary.knocks == 0
    counted(f"hostile answers {asked}, memory {grown >> 20} MiB more, knocks {canary.knocks}")
    assert grown < MOST_BYTES


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "iso-2022-jp")


def retold(document: bytes, encoding: str, before: str) -> bytes:
    """A document in another encoding, `before` standing before its first element."""
    text = document.decode()
    text = text[text.index("?>") + 2 :].lstrip() if text.startswith("<?xml") else text
    return f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>{before}{text}'.encode(encoding)


DOCUMENT_TYPES = (
    "<!DOCTYPE e:Envelope>",
    '<!DOCTYPE e:Envelope [<!ENTITY a "b">]>',
    "<!-- c --><?p i?>\n<!DOCTYPE e:Envelope [<!-- ]> -->]>",
)


@pytest.mark.fault("S10")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_document_type_is_found_in_every_encoding(encoding: str) -> None:
    plain = _ENVELOPE.format("", "x").encode()
    assert discovery.parse_answer(retold(plain, encoding, "<!-- <!DOCTYPE x> -->")) is not None  # a comment is not one
    device_xml.refuse_hostile(retold(plain, encoding, "<!-- <!DOCTYPE x> -->"))
    for declared in DOCUMENT_TYPES:
        for document in (retold(plain, encoding, declared), retold(plain, encoding, declared)[:-20]):
            assert discovery.parse_answer(document) is None
            with pytest.raises(ValueError, match=r"document type|no XML"):
                device_xml.refuse_hostile(document)


@pytest.mark.fault("S10")
def test_a_document_type_behind_a_mistake_is_found_too() -> None:
    """The library's parser forgives mistakes, so a judge that ended at the first would see less than it."""
    with pytest.raises(ValueError, match="document type"):
        device_xml.refuse_hostile(b' <?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a d="&b;"/>')
    with pytest.raises(ValueError, match="64 levels"):
        device_xml.refuse_hostile(b"<a>" * 65)
    device_xml.refuse_hostile(b"<a>" * 64 + b"</a>" * 64)


@pytest.mark.real
@pytest.mark.fault("S10")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32", "utf-7"])
async def test_a_device_with_a_document_type_is_refused_in_every_encoding(
    encoding: str, onvif_camera: OnvifCamera
) -> None:
    """Somebody else's device, its answers rewritten on the way: nothing but a document type is wrong with them."""
    declared, status, kind = "", 200, "application/soap+xml"

    async def rewritten(request: web.BaseRequest) -> web.StreamResponse:
        async with aiohttp.ClientSession() as session:
            body = await request.read()
            async with session.post(
                onvif_camera.url, data=body, headers={"Content-Type": request.content_type}
            ) as answer:
                return web.Response(
                    body=retold(await answer.read(), encoding, declared), status=status, content_type=kind
                )

    async def described() -> str:
        try:
            offers = await onboarding.describe(
                SETTINGS,
                SystemClock(),
                onvif=f"127.0.0.1:{device.port}",
                username=onvif_camera.user,
                password=Secret(onvif_camera.password),
            )
        except TiergateError as refused:
            return f"{refused.reason.code} {refused}"
        return offers[0].model

    async with TestServer(rewritten) as device:
        model = await described()
        assert model and not model.startswith("camera.")
        for one in DOCUMENT_TYPES:
            declared = one
            assert "document type" in await described()
        declared, status = "<!DOCTYPE html>", 401  # an error page has one, and says its status all the same
        assert (await described()).startswith("camera.onvif_credentials")
        declared, status, kind = "", 200, "multipart/related"
        assert "several parts" in await described()
