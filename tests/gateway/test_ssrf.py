"""Addresses that people type and devices return, against a canary that listens everywhere (FAULTS S6): whatever the
spelling, nobody knocks. Each way in has a twin whose check is taken away and which does reach the canary.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio

from config import crypto
from config.clock import SystemClock, wall_ms
from config.errors import TiergateError
from config.redact import Secret
from config.units import DAY_MS
from gateway.access.keys import ensure_keys
from gateway.cameras import address, onvif, owner_recorder, recordings
from gateway.cameras.owner_recorder import OwnerRecorders, Target
from gateway.ingest import libav_confine
from gateway.ingest.logins import Logins
from gateway.relay import http, pairing
from gateway.relay.adapters import KeySigner
from tests.gateway.web.site import ALL_ROLES, Site, site_in
from tests.parts.impostors import Answer, Impostor, http_redirect, rtsp_redirect
from tests.parts.profile_g import OwnerRecorder
from tests.parts.wait import until
from tiering.wire import Invite

ALLOWED = "127.0.0.1/32"
#: What the test's resolver says of names; a list is answered one by one: the name means another machine next time.
NAMES: dict[str, list[list[str]]] = {
    "cam-evil.test": [["127.0.0.9"]],
    "two.test": [["127.0.0.1", "127.0.0.9"]],
    "six.test": [["::1"]],
    "mapped.test": [["::ffff:127.0.0.9"]],
    "metadata.test": [["169.254.169.254"]],
    "zero.test": [["0.0.0.0"]],
    "any.test": [["::"]],
    "rebind.test": [["127.0.0.1"], ["127.0.0.9"]],
}


class Canary:
    """Listens at one port of every address of this machine and counts who connects. Nobody should."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._socket.getsockname()[1]
        self.knocks: list[str] = []
        self._thread = threading.Thread(target=self._serve, name="canary", daemon=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, peer = self._socket.accept()
            except OSError:
                return
            self.knocks.append(str(peer[0]))
            connection.close()

    def hears(self) -> bool:
        """That it would have heard: a knock of ours, taken off the count."""
        before = len(self.knocks)
        for host in ("127.0.0.9", "::1"):
            socket.create_connection((host, self.port), 5).close()
        with contextlib.suppress(AssertionError):
            until(lambda: len(self.knocks) >= before + 2, 10, "the canary hears")
        heard = len(self.knocks) - before
        del self.knocks[before:]
        return heard == 2

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary() as made:
        yield made


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """A resolver that knows the names above, for whoever asks in this process; counts what was asked."""
    real, asked = socket.getaddrinfo, Counter[str]()

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in NAMES:
            return real(host, port, *args, **kwargs)
        turns = NAMES[name]
        found = turns[min(asked[name], len(turns) - 1)]
        asked[name] += 1
        made: list[Any] = []
        for ip in found:
            made += real(ip, port, type=socket.SOCK_STREAM)
        return made

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest_asyncio.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with site_in(tmp_path, cameras={"allowed_networks": [ALLOWED], "connect_timeout_s": 2}) as made:
        made.user("admin", ALL_ROLES)
        yield made


def hosts(port: int) -> list[str]:
    """``host:port`` in every spelling that leads somewhere else than 127.0.0.1; some are no address at all."""
    plain = [
        "127.0.0.9", "127.0.0.2", "127.1.1.1", "127.255.255.254", "2130706441", "2130706434", "0x7f000009",
        "0x7F.0.0.9",
        "0x7f.9", "0177.0.0.011", "0177.011", "017700000011", "127.9", "127.0.9", "127.0.9.", "0127.0.0.9",
        "0x7f.0x0.0x0.0x9", "00000177.0.0.9", "127.0.0.9.", "0", "0.0.0.0", "0x0", "00", "０", "１２７.0.0.9",
        "127。0。0。9",
        "①②⑦.0.0.9", "[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::ffff:127.0.0.9]", "[::ffff:7f00:9]",
        "[0:0:0:0:0:ffff:127.0.0.9]", "[::ffff:0.0.0.0]", "[::127.0.0.9]", "[64:ff9b::127.0.0.9]", "[::1%25lo]",
        "[::1%lo]",
        "[fe80::1%25lo]", "[fe80::1]", "169.254.169.254", "2852039166", "[fd00:ec2::254]", "224.0.0.1",
        "255.255.255.255",
        "ip6-localhost", "localhost6", "LOCALHOST6", *NAMES,
    ]  # fmt: skip
    tricks = [
        f"127.0.0.1@127.0.0.9:{port}", f"127.0.0.1:554@127.0.0.9:{port}", f"127.0.0.1%40127.0.0.9:{port}",
        f"127.0.0.1\\@127.0.0.9:{port}", f"127.0.0.1%23@127.0.0.9:{port}", f"127.0.0.1#@127.0.0.9:{port}",
        f"127.0.0.9:{port}#@127.0.0.1", f"127.0.0.9:{port}?@127.0.0.1", f"127.0.0.9:{port}\\@127.0.0.1",
        f"a:b@c@127.0.0.9:{port}", f"127.0.0.1 @127.0.0.9:{port}", f"127.0.0.1%00.127.0.0.9:{port}",
        f"127.0.0.9:{port}%00",
        f"127.0.0.1%0d%0a127.0.0.9:{port}", f"[127.0.0.9]:{port}", f"[::1]{port}", f"127.0.0.9:0{port}",
        f"127.0.0.9:{port + 65_536}", f"127.0.0.9:+{port}", f"127.0.0.9:{port} ", f"127.0.0.1,127.0.0.9:{port}",
        f"127.0.0.1;127.0.0.9:{port}", f"127.0.0.1&@127.0.0.9:{port}",
    ]  # fmt: skip
    return [f"{host}:{port}" for host in plain] + tricks


def camera_urls(port: int) -> list[str]:
    found = [f"rtsp://{host}/x" for host in hosts(port)]
    found += [f"rtsps://{host}/x" for host in hosts(port)[::2]]
    found += [f"{scheme}127.0.0.9:{port}/x" for scheme in (
        "RTSP://", "rTsP://", "rtspt://", "rtspu://", "rtsp+tcp://", "rtmp://", "rtp://", "udp://", "tcp://",
        "tls://", "http://",
        "https://", "HTTPS://", "httpproxy://", "ftp://", "sftp://", "gopher://", "dict://", "ldap://", "smb://",
        "jar:http://",
        "concat:rtsp://", "subfile,,start,0,end,9,,:rtsp://", "crypto:rtsp://", "cache:rtsp://", "async:rtsp://",
        "tee:rtsp://",
        "url:rtsp://", "view-source:rtsp://", "rtsp:/", "rtsp:", "rtsp:///", "rtsp:\\\\", "//", "", "\trtsp://",
        "rt\nsp://",
        "rtsp\u2215\u2215", "exec:curl http://", "ffmpeg:rtsp://", "file:///", "pipe:",
    )]  # fmt: skip
    return found


async def knocked_by(canary: Canary, work: Callable[[str], Any], payloads: Sequence[str]) -> list[str]:
    guilty = []
    for payload in payloads:
        before = len(canary.knocks)
        await work(payload)
        if len(canary.knocks) > before:
            guilty.append(payload)
    return guilty


def refused(answer: httpx.Response, payload: str) -> None:
    assert 400 <= answer.status_code < 500 or answer.status_code == 503, (payload, answer.status_code, answer.text)
    assert answer.headers["content-type"] == "application/problem+json", payload


@pytest.mark.fault("S6")
async def test_what_people_type_reaches_nobody(site: Site, canary: Canary, counted: Callable[[object], None]) -> None:
    urls = camera_urls(canary.port)
    count = 0
    async with await site.sign_in("admin") as client:
        made = await client.post("/api/v1/cameras", json={"url": "rtsp://127.0.0.1:9/a", "name": "a"})
        path = f"/api/v1/cameras/{made.json()['id']}"

        async def everywhere(url: str) -> None:
            nonlocal count
            for method, where, body in (
                ("POST", "/api/v1/cameras", {"url": url}),
                ("POST", "/api/v1/cameras", {"url": "rtsp://127.0.0.1:9/b", "sub_url": url}),
                ("POST", "/api/v1/cameras/probe", {"url": url}),
                ("PATCH", path, {"url": url}),
                ("PATCH", path, {"sub_url": url or "x"}),
            ):
                answer = await client.request(method, where, json=body)
                count += 1
                if answer.status_code >= 300:
                    refused(answer, url)
                    continue
                for stream in answer.json()["streams"].values():  # what looks like two addresses is this machine's
                    assert stream is None or urlsplit(stream["url"]).hostname == "127.0.0.1", url

        # A rebinding name is good the first time it is asked; what is registered then is judged again when opened.
        guilty = await knocked_by(canary, everywhere, [u for u in urls if "rebind" not in u])
    counted(f"{len(urls)} camera addresses, {count} requests, knocks {len(canary.knocks)}")
    assert len(set(urls)) >= 120 and guilty == [] and canary.hears()


@pytest.mark.fault("S6")
async def test_a_name_is_resolved_once_and_what_was_judged_is_what_is_called(
    site: Site, canary: Canary, names: Counter[str]
) -> None:
    pinned = address.pinned_url(f"rtsp://rebind.test:{canary.port}/x", [ALLOWED])
    assert pinned == f"rtsp://127.0.0.1:{canary.port}/x" and names["rebind.test"] == 1
    with pytest.raises(TiergateError):
        address.pinned_url(f"rtsp://rebind.test:{canary.port}/x", [ALLOWED])
    names.clear()
    async with await site.sign_in("admin") as client:
        answer = await client.post("/api/v1/cameras/probe", json={"url": f"rtsp://rebind.test:{canary.port}/x"})
        refused(answer, "rebind")
    assert names["rebind.test"] >= 2 and canary.knocks == []


# --- what devices answer ---------------------------------------------------------------------------------------------

_SOAP = (
    '<?xml version="1.0"?><e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:d="http://www.onvif.org/ver10/device/wsdl" xmlns:m="http://www.onvif.org/ver10/media/wsdl" '
    'xmlns:t="http://www.onvif.org/ver10/schema"><e:Body>{}</e:Body></e:Envelope>'
)


def device(own: Callable[[], int], media: str, stream: str) -> Answer:
    """An ONVIF device that names `media` as its media service and `stream` as its stream; "own" is itself."""

    def answer(request: bytes) -> bytes:
        here = f"http://127.0.0.1:{own()}/onvif/device_service"
        if b"GetServices" in request or b"GetCapabilities" in request:
            place = here if media == "own" else media
            body = (
                f"<d:GetCapabilitiesResponse><d:Capabilities><t:Device><t:XAddr>{here}</t:XAddr></t:Device>"
                f"<t:Media><t:XAddr>{place}</t:XAddr></t:Media></d:Capabilities></d:GetCapabilitiesResponse>"
            )
            if b"GetServices" in request:
                body = "<d:GetServicesResponse>" + "".join(
                    f"<d:Service><d:Namespace>http://www.onvif.org/{n}/wsdl</d:Namespace><d:XAddr>{a}</d:XAddr>"
                    "<d:Version><t:Major>2</t:Major><t:Minor>4</t:Minor></d:Version></d:Service>"
                    for n, a in (("ver10/device", here), ("ver10/media", place), ("ver20/media", place))
                ) + "</d:GetServicesResponse>"  # fmt: skip
        elif b"GetDeviceInformation" in request:
            body = (
                "<d:GetDeviceInformationResponse><d:Manufacturer>M</d:Manufacturer><d:Model>X</d:Model>"
                "<d:FirmwareVersion>1</d:FirmwareVersion><d:SerialNumber>1</d:SerialNumber><d:HardwareId>1</d:HardwareId>"
                "</d:GetDeviceInformationResponse>"
            )
        elif b"GetProfiles" in request and b"ver20" not in request:
            body = (
                '<m:GetProfilesResponse><m:Profiles token="p" fixed="true"><t:Name>p</t:Name>'
                '<t:VideoSourceConfiguration token="v"><t:Name>v</t:Name><t:UseCount>1</t:UseCount>'
                '<t:SourceToken>s</t:SourceToken><t:Bounds x="0" y="0" width="640" height="360"/>'
                '</t:VideoSourceConfiguration><t:VideoEncoderConfiguration token="e"><t:Name>e</t:Name>'
                "<t:UseCount>1</t:UseCount><t:Encoding>H264</t:Encoding>"
                "<t:Resolution><t:Width>640</t:Width><t:Height>360</t:Height></t:Resolution><t:Quality>1</t:Quality>"
                "<t:SessionTimeout>PT60S</t:SessionTimeout></t:VideoEncoderConfiguration></m:Profiles></m:GetProfilesResponse>"
            )
        elif b"GetStreamUri" in request:
            body = (
                f"<m:GetStreamUriResponse><m:MediaUri><t:Uri>{stream}</t:Uri>"
                "<t:InvalidAfterConnect>false</t:InvalidAfterConnect>"
                "<t:InvalidAfterReboot>false</t:InvalidAfterReboot><t:Timeout>PT60S</t:Timeout></m:MediaUri>"
                "</m:GetStreamUriResponse>"
            )
        else:
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        text = _SOAP.format(body).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/soap+xml\r\nContent-Length: {len(text)}\r\n"
        return head.encode() + b"Connection: close\r\n\r\n" + text

    return answer


@contextlib.contextmanager
def lying_device(media: str = "own", stream: str = "rtsp://127.0.0.1:9/x") -> Iterator[Impostor]:
    holder: list[Impostor] = []
    made = Impostor(device(lambda: holder[0].port, media, stream))
    holder.append(made)
    with made:
        yield made


def elsewhere(port: int) -> list[str]:
    """Where a device may send us, as URLs without scheme."""
    return [
        f"127.0.0.9:{port}/x", f"127.0.0.2:{port}", f"2130706441:{port}/", f"0x7f.9:{port}/", f"[::1]:{port}/",
        f"0.0.0.0:{port}/",
        f"[::ffff:127.0.0.9]:{port}/", f"127.0.0.1@127.0.0.9:{port}/", f"cam-evil.test:{port}/", f"two.test:{port}/",
        f"six.test:{port}/", f"mapped.test:{port}/",
    ]  # fmt: skip


@pytest.mark.fault("S6", "S9")
@pytest.mark.real
async def test_what_devices_answer_leads_nowhere(site: Site, canary: Canary, counted: Callable[[object], None]) -> None:
    tried, knocks = 0, 0
    async with await site.sign_in("admin") as client:

        async def probe(**body: Any) -> httpx.Response:
            nonlocal tried
            tried += 1
            answer = await client.post("/api/v1/cameras/probe", json=body)
            refused(answer, str(body))
            return answer

        for host in hosts(canary.port)[::3]:
            for onvif_ in (host, f"http://{host}/onvif/device_service", f"https://{host}/"):
                if len(onvif_) <= 200:
                    await probe(onvif=onvif_)
        for place in elsewhere(canary.port):
            with Impostor(http_redirect(f"http://{place}")) as first:
                await probe(onvif=f"127.0.0.1:{first.port}")
                assert first.knocks
                knocks += first.knocks
            with lying_device(media=f"http://{place}") as liar:
                await probe(onvif=f"127.0.0.1:{liar.port}", username="a", password="b")
                assert liar.knocks >= 3
                knocks += liar.knocks
            with lying_device(stream=f"rtsp://{place}") as liar:
                await probe(onvif=f"127.0.0.1:{liar.port}")
                assert liar.knocks >= 4
                knocks += liar.knocks
            with Impostor(rtsp_redirect(f"rtsp://{place}")) as rtsp:
                await probe(url=f"rtsp://127.0.0.1:{rtsp.port}/x")
                assert rtsp.knocks
                knocks += rtsp.knocks
        with Impostor(lambda _: b"") as hop:
            for last in (f"http://127.0.0.1:{hop.port}", f"gopher://127.0.0.9:{canary.port}/", "file:///etc/passwd"):
                with Impostor(http_redirect(last)) as first:
                    await probe(onvif=f"127.0.0.1:{first.port}")
        for scheme in ("http", "file", "tcp", "concat:rtsp", "pipe"):
            with lying_device(stream=f"{scheme}://127.0.0.1:9/x") as liar:
                answer = await client.post("/api/v1/cameras", json={"onvif": f"127.0.0.1:{liar.port}"})
                refused(answer, scheme)
                tried += 1
    counted(f"{tried} answers of devices, devices asked {knocks} times, knocks at the canary {len(canary.knocks)}")
    assert canary.knocks == [] and canary.hears()


@pytest.mark.fault("S6", "S9")
@pytest.mark.real
async def test_where_an_owners_recorder_keeps_its_replay_leads_nowhere(
    site: Site, canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counted: Callable[[object], None]
) -> None:
    """It lists footage as an honest one does, and names a place for it that is none of its own."""
    clock = SystemClock()
    now_ms = wall_ms(clock)
    asking = OwnerRecorders(site.settings, clock, Logins(clock, tmp_path / "logins"))
    # What that name means at first is allowed, and called: that it is asked once is shown above.
    urls = [url for url in camera_urls(canary.port) if "rebind.test" not in url]
    with OwnerRecorder(now_ms, [(now_ms - DAY_MS, now_ms)]) as recorder:
        there = Target(
            "c", f"http://127.0.0.1:{recorder.port}", recorder.stream_url, ("profile",), recorder.user,
            Secret(recorder.password), 0,
        )  # fmt: skip

        async def told(url: str) -> str:
            async def replay_url(*_: object) -> str:
                return url

            with monkeypatch.context() as patch:
                patch.setattr(recordings, "replay_url", replay_url)
                [found] = await asking.ask(there, [now_ms - DAY_MS // 2])
            return found.answer[0]

        assert {await told(url) for url in urls} == {"unknown"}
        counted(f"{len(urls)} places for a replay, knocks at the canary {len(canary.knocks)}")
        assert canary.knocks == [] and canary.hears()
        canary.knocks.clear()
        with monkeypatch.context() as patch:
            patch.setattr(owner_recorder, "allowed_address", lambda host, _: host)
            await told(f"rtsp://127.0.0.9:{canary.port}/x")
        assert canary.knocks, "and it reaches the canary once its check is gone"


async def test_an_honest_device_is_described(site: Site) -> None:
    """Else what is refused above would be refused for no reason."""
    with lying_device() as good:
        async with await site.sign_in("admin") as client:
            answer = await client.post("/api/v1/cameras/probe", json={"onvif": f"127.0.0.1:{good.port}"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["items"][0]["streams"][0]["url"] == "rtsp://127.0.0.1:9/x"


# --- other nodes -----------------------------------------------------------------------------------------------------


def invitation(url: str) -> str:
    secret, node = bytes(20), "0123456789abcdef"
    return Invite(url, node, crypto.DEFAULT_SUITE.digest(b"key"), None, "upper", secret, 9_000_000_000_000).as_code()


@pytest.mark.fault("S6")
@pytest.mark.parametrize("networks", [(), ("10.0.0.0/8",), (ALLOWED,)], ids=["anywhere", "ten", "one"])
async def test_an_invitation_leads_to_no_machine_that_is_none(
    site: Site, canary: Canary, networks: tuple[str, ...], counted: Callable[[object], None]
) -> None:
    keys, clock = ensure_keys(site.settings), SystemClock()
    card = pairing.own_card(site.settings, keys.node_id, keys.node_public)
    signer = KeySigner(keys)

    async def accept(url: str) -> None:
        for code, shown in ((invitation(url), None), (invitation("https://10.0.0.1"), url)):
            with pytest.raises(TiergateError):
                await pairing.accept(site.catalog, clock, signer, card, code, "user:admin", shown, networks)

    urls = [f"{scheme}://{host}" for host in hosts(canary.port) for scheme in ("http", "https")]
    urls += [f"http://{host}/tier" for host in elsewhere(canary.port)]
    wanted = [u for u in urls if "rebind" not in u and len(u) < 300 and "10.0.0.1" not in u and "fd00:ec2" not in u]
    wanted = [u for u in wanted if "64:ff9b" not in u and "::127" not in u]  # routed nowhere: each would wait for 5 s
    wanted = wanted[:: 5 if networks else 1]
    guilty = await knocked_by(canary, accept, wanted)
    counted(f"{len(wanted)} invitations, knocks {len(canary.knocks)}")
    assert guilty == [] and canary.hears()


# --- the twins -------------------------------------------------------------------------------------------------------


@pytest.mark.fault("S6")
@pytest.mark.real
async def test_each_way_in_reaches_the_canary_once_its_check_is_gone(
    site: Site, canary: Canary, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = f"127.0.0.9:{canary.port}"

    def knocks() -> int:
        count = len(canary.knocks)
        canary.knocks.clear()
        return count

    async with await site.sign_in("admin") as client:

        async def probe(**body: Any) -> None:
            refused(await client.post("/api/v1/cameras/probe", json=body), str(body))

        with monkeypatch.context() as patch, Impostor(rtsp_redirect(f"rtsp://{there}/x")) as rtsp:
            patch.setattr(libav_confine, "_allowed", lambda *_: True)
            await probe(url=f"rtsp://127.0.0.1:{rtsp.port}/x")
            assert knocks(), "an RTSP redirect"
        with monkeypatch.context() as patch:
            for module in (address, onvif):
                patch.setattr(module, "address_is_allowed", lambda *_: True)
            await probe(url=f"rtsp://{there}/x")
            assert knocks(), "a typed address"
            await probe(onvif=there)
            assert knocks(), "a typed ONVIF address"
            with Impostor(http_redirect(f"http://{there}/x")) as first:
                await probe(onvif=f"127.0.0.1:{first.port}")
                assert knocks(), "an HTTP redirect"
            with lying_device(media=f"http://{there}/x") as liar:
                await probe(onvif=f"127.0.0.1:{liar.port}")
                assert knocks(), "a lie about a service"
    with monkeypatch.context() as patch:
        patch.setattr(http, "_may_be_a_node", lambda *_: True)
        keys = ensure_keys(site.settings)
        card = pairing.own_card(site.settings, keys.node_id, keys.node_public)
        with pytest.raises(TiergateError):
            await pairing.accept(
                site.catalog, SystemClock(), KeySigner(keys), card, invitation(f"http://{there}"), "user:a", None, ()
            )
        assert knocks(), "an invitation"
