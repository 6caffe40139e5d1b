"""`OwnerRecorder`: an ONVIF Profile G recorder on loopback: recording search, recording control, replay over RTSP.

No recorder of this kind that somebody else wrote runs here, and no physical one was at hand; so that this one is not
merely what its client expects, every request is read, and every answer written, by the official WSDL files through
zeep: what does not fit them is refused. Replay sends a really encoded clip as RFC 6184 packets with the header
extension of the ONVIF Streaming Specification, which holds the time of each picture, and wants what that asks for:
``Require: onvif-replay`` and a clock range.

What it has and how it misbehaves are plain attributes, read anew with every request.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Self

import onvif
import zeep
from aiohttp import web
from lxml import etree

from gateway.cameras.replay import clock_text
from storage.media.codecs import split_annexb
from tests.media import encode_h264
from tests.parts.scripted_camera import Script, Shot, payloads

_WSDL = Path(onvif.__file__).with_name("wsdl")
_SOAP = "http://www.w3.org/2003/05/soap-envelope"
_NAMESPACES = {
    "http://www.onvif.org/ver10/device/wsdl": "devicemgmt",
    "http://www.onvif.org/ver10/search/wsdl": "search",
    "http://www.onvif.org/ver10/replay/wsdl": "replay",
    "http://www.onvif.org/ver10/recording/wsdl": "recording",
}
_WSSE = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss"
_NTP_EPOCH_S = 2_208_988_800
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GOP_MS = 1_000

Span = tuple[int, int]  #: true time, ms


@dataclass
class Channel:
    """One recording."""

    footage: list[Span]
    profile: str = "profile"  #: of the media service, that its job records
    source_id: str = "http://localhost/source"
    listed: list[Span] | None = None  #: what it says that it has; None: the truth


@dataclass
class Asked:
    """What was asked of it."""

    calls: Counter[str] = field(default_factory=Counter)
    bad_logins: int = 0
    played_ms: list[int] = field(default_factory=list)  #: starts of ranges, true time
    torn_down: int = 0
    open_searches: int = 0


class OwnerRecorder:
    """Runs in a thread of its own; ports are chosen by the kernel."""

    def __init__(self, now_ms: int, footage: list[Span], *, user: str = "admin", password: str = "p@ss:w/1") -> None:
        """`now_ms`: true time when it is asked for its clock; it stands still."""
        self.now_ms = now_ms
        self.user, self.password = user, password
        self.channels: dict[str, Channel] = {"rec-1": Channel(footage)}
        self.services = {"search", "replay", "recording"}
        self.clock_ahead_ms = 0
        self.stamps = True
        self.search_ends = True
        self.auth: Literal["digest", "basic"] = "digest"
        #: of a range that is taken: what it sends.
        self.plays: Literal["footage", "nothing", "live"] = "footage"
        self.hangs: Literal["", "soap", "rtsp"] = ""
        self.replay_host: str | None = None
        self.replay_password: str | None = None  #: None: the same as for ONVIF
        self.asked = Asked()
        self._clients: dict[str, Any] = {}
        self._picture = encode_h264(1.0)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True, name="owner-recorder")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/onvif/device_service"

    @property
    def stream_url(self) -> str:
        return f"rtsp://127.0.0.1:{self.rtsp_port}/live"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the recorder does not start"
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/{tail:.*}", self._soap)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port: int = runner.addresses[0][1]
        rtsp = await asyncio.start_server(self._rtsp, "127.0.0.1", 0)
        self.rtsp_port: int = rtsp.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        rtsp.close()
        await runner.cleanup()

    # --- ONVIF --------------------------------------------------------------------------------------------------------

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            client = zeep.Client(str(_WSDL / f"{service}.wsdl"))  # type: ignore[no-untyped-call]  # it ships no types
            self._clients[service] = client
        return self._clients[service]

    async def _soap(self, request: web.Request) -> web.Response:
        tree = etree.fromstring(await request.read())
        body = tree.find(f"{{{_SOAP}}}Body")
        assert body is not None
        asked = body[0]
        name = etree.QName(asked)
        self.asked.calls[name.localname] += 1
        if self.hangs == "soap":
            await self._end.wait()
        service = _NAMESPACES[str(name.namespace)]
        if name.localname != "GetSystemDateAndTime" and not self._signed(tree):
            self.asked.bad_logins += 1
            return _fault("ter:NotAuthorized", "Sender not authorized")
        if service != "devicemgmt" and service not in self.services:
            return _fault("ter:ActionNotSupported", "no such service")
        client = self._client(service)
        # Raises for a request that the schema does not know: the client then sees a failed connection.
        value = client.get_element(name.text).parse(asked, client.wsdl.types)
        known = getattr(self, f"_{name.localname}", None)
        if known is None:
            return _fault("ter:ActionNotSupported", name.localname)
        answer = client.get_element(f"{{{name.namespace}}}{name.localname}Response")
        envelope = etree.Element(f"{{{_SOAP}}}Envelope")
        answer.render(etree.SubElement(envelope, f"{{{_SOAP}}}Body"), answer(**known(value)))
        return web.Response(body=etree.tostring(envelope), content_type="application/soap+xml")

    def _signed(self, tree: Any) -> bool:
        """WS-Security UsernameToken Profile 1.0, password digest."""
        found = {etree.QName(e).localname: e.text or "" for e in tree.iter() if isinstance(e.tag, str)}
        if found.get("Username") != self.user:
            return False
        given = base64.b64decode(found["Nonce"]) + found["Created"].encode() + self.password.encode()
        return base64.b64encode(hashlib.sha1(given, usedforsecurity=False).digest()).decode() == found["Password"]

    def _device_time(self, true_ms: int) -> datetime:
        return _EPOCH + timedelta(milliseconds=true_ms + self.clock_ahead_ms)

    def _GetSystemDateAndTime(self, _: Any) -> dict[str, Any]:
        now = self._device_time(self.now_ms)
        date = {"Year": now.year, "Month": now.month, "Day": now.day}
        time = {"Hour": now.hour, "Minute": now.minute, "Second": now.second}
        told = {"DateTimeType": "Manual", "DaylightSavings": False, "UTCDateTime": {"Time": time, "Date": date}}
        return {"SystemDateAndTime": told}

    def _GetServices(self, _: Any) -> dict[str, Any]:
        return {
            "Service": [
                {"Namespace": space, "XAddr": self.url, "Version": {"Major": 2, "Minor": 60}}
                for space, name in _NAMESPACES.items()
                if name == "devicemgmt" or name in self.services
            ]
        }

    def _FindRecordings(self, _: Any) -> dict[str, Any]:
        self.asked.open_searches += 1
        return {"SearchToken": "search-1"}

    def _GetRecordingSearchResults(self, asked: Any) -> dict[str, Any]:
        assert asked.SearchToken == "search-1"
        return {
            "ResultList": {
                "SearchState": "Completed" if self.search_ends else "Searching",
                "RecordingInformation": [self._information(token, c) for token, c in self.channels.items()],
            }
        }

    def _information(self, token: str, channel: Channel) -> dict[str, Any]:
        listed = channel.footage if channel.listed is None else channel.listed
        track = {"TrackToken": "v1", "TrackType": "Video", "Description": ""}
        words = {"Name": "camera", "Location": "", "Description": "", "Address": "http://localhost/"}
        told: dict[str, Any] = {
            "RecordingToken": token,
            "Source": {"SourceId": channel.source_id, **words},
            "Content": "",
            "Track": [],
            "RecordingStatus": "Recording",
        }
        if listed:
            first, last = self._device_time(min(s for s, _ in listed)), self._device_time(max(e for _, e in listed))
            told |= {"EarliestRecording": first, "LatestRecording": last}
            told["Track"] = [track | {"DataFrom": first, "DataTo": last}]
        return told

    def _EndSearch(self, _: Any) -> dict[str, Any]:
        self.asked.open_searches -= 1
        return {"Endpoint": self._device_time(self.now_ms)}

    def _GetRecordingJobs(self, _: Any) -> dict[str, Any]:
        def job(token: str, channel: Channel) -> dict[str, Any]:
            source = {"SourceToken": {"Token": channel.profile, "Type": "http://www.onvif.org/ver10/schema/Profile"}}
            wanted = {"RecordingToken": token, "Mode": "Active", "Priority": 1, "Source": [source | {"Tracks": []}]}
            return {"JobToken": f"job-{token}", "JobConfiguration": wanted}

        return {"JobItem": [job(token, channel) for token, channel in self.channels.items()]}

    def _GetReplayUri(self, asked: Any) -> dict[str, Any]:
        assert asked.StreamSetup.Transport.Protocol == "RTSP"
        host = self.replay_host or f"127.0.0.1:{self.rtsp_port}"
        return {"Uri": f"rtsp://{host}/replay/{asked.RecordingToken}"}

    # --- replay -------------------------------------------------------------------------------------------------------

    async def _rtsp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().split("\r\n")
                headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
                method, url, _ = first.split(" ")
                self.asked.calls[method] += 1
                if self.hangs == "rtsp":
                    await self._end.wait()
                status, answer, body, media = self._replay(method, url, headers)
                told = [f"RTSP/1.0 {status} x", f"CSeq: {headers['cseq']}", *answer, f"Content-Length: {len(body)}"]
                writer.write("\r\n".join([*told, "", ""]).encode() + body + media)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _replay(self, method: str, url: str, headers: dict[str, str]) -> tuple[int, list[str], bytes, bytes]:
        if not self._may(method, headers):
            if "authorization" in headers:
                self.asked.bad_logins += 1
            kind = 'Digest realm="recorder", nonce="0a1b2c"' if self.auth == "digest" else 'Basic realm="recorder"'
            return 401, [f"WWW-Authenticate: {kind}"], b"", b""
        channel = self.channels.get(url.split("/replay/")[1].partition("/")[0])
        if method == "TEARDOWN":
            self.asked.torn_down += 1
            return 200, [], b"", b""
        if channel is None:
            return 404, [], b"", b""
        if headers.get("require") != "onvif-replay":
            return 551, ["Unsupported: onvif-replay"], b"", b""
        if method == "DESCRIBE":
            sdp = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=replay\r\nt=0 0\r\na=control:*\r\nm=audio 0 RTP/AVP 8\r\n"
            sdp += "a=control:sound\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:video\r\n"
            return 200, [f"Content-Base: {url}/", "Content-Type: application/sdp"], sdp.encode(), b""
        if method == "SETUP":
            assert url.endswith("/video") and "interleaved=0-1" in headers["transport"]
            return 200, ["Transport: RTP/AVP/TCP;unicast;interleaved=2-3", "Session: 77;timeout=60"], b"", b""
        assert method == "PLAY" and headers["session"] == "77"
        true_ms = _clock_ms(headers["range"]) - self.clock_ahead_ms
        self.asked.played_ms.append(true_ms)
        found_ms = self.now_ms if self.plays == "live" else _at_or_after(channel.footage, true_ms)
        if self.plays == "nothing":
            return 200, [f"Range: {headers['range']}", "Session: 77"], b"", b""
        if found_ms is None:
            return 457, [], b"", b""
        device_ms = found_ms + self.clock_ahead_ms
        started = f"Range: clock={clock_text(device_ms)}-"
        return 200, [started, "Session: 77"], b"", self._media(device_ms)

    def _may(self, method: str, headers: dict[str, str]) -> bool:
        if self.auth == "basic":
            return False
        given = dict(re.findall(r'(\w+)="([^"]*)"', headers.get("authorization", "")))

        def md5(text: str) -> str:
            return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

        secret, asked = (
            md5(f"{self.user}:recorder:{self.replay_password or self.password}"),
            md5(f"{method}:{given.get('uri', '')}"),
        )
        return given.get("username") == self.user and given.get("response") == md5(f"{secret}:0a1b2c:{asked}")

    def _media(self, device_ms: int) -> bytes:
        """Two seconds from the key frame at or before, each packet with its true time; sound's channel is noise."""
        out, sequence = bytearray(struct.pack(">BBH", 0x24, 0, 4) + b"\0" * 4), 0
        start_ms = device_ms - device_ms % GOP_MS
        for index in range(2 * len(self._picture)):
            packet = self._picture[index % len(self._picture)]
            at_ms = start_ms + index * 40
            shot = Shot(0.0, "video", index * 3600, tuple(split_annexb(packet.data)), index, packet.key)
            for payload in payloads(shot, Script([])):
                whole, part = divmod(at_ms, 1000)
                stamp = struct.pack(">HHIIBBH", 0xABAC, 3, whole + _NTP_EPOCH_S, (part << 32) // 1000, 0x80, 0, 0)
                extension = stamp if self.stamps else b""
                head = struct.pack(">BBHII", 0x90 if extension else 0x80, 96, sequence, index * 3600, 0x55)
                out += struct.pack(">BBH", 0x24, 2, len(head + extension + payload)) + head + extension + payload
                sequence += 1
        return bytes(out)


def _clock_ms(header: str) -> int:
    """Start of ``Range: clock=`` (RFC 2326 §3.7)."""
    found = re.match(r"clock=([0-9]{8}T[0-9]{6}\.[0-9]{3})Z-", header)
    assert found is not None, header
    moment = datetime.strptime(f"{found[1]}000", "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def _at_or_after(footage: list[Span], at_ms: int) -> int | None:
    """Where it begins to play: at the instant, else where it has something again."""
    later = [start if start > at_ms else at_ms for start, end in sorted(footage) if end > at_ms]
    return later[0] if later else None


def _fault(code: str, text: str) -> web.Response:
    subcode, _, name = code.partition(":")
    told = (
        f'<s:Envelope xmlns:s="{_SOAP}" xmlns:{subcode}="http://www.onvif.org/ver10/error"><s:Body><s:Fault><s:Code>'
        f"<s:Value>s:Sender</s:Value><s:Subcode><s:Value>{subcode}:{name}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en">{text}</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>'
    )
    return web.Response(status=400, body=told.encode(), content_type="application/soap+xml")
