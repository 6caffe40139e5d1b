"""One second of a recorder's footage, asked for by ONVIF replay: does video come, and of which time? (pure)

RTSP 1.0 over one connection, interleaved (ONVIF Streaming Specification, "Replay"; Profile G): DESCRIBE, SETUP with
``Require: onvif-replay``, PLAY with ``Range: clock=``. Recorders stamp each packet of replay with the true time of its
picture (RTP header extension 0xABAC), and that stamp is what is believed: a recorder that jumps to the next footage it
has, or plays its live picture, answers 200 as well.

Nothing is decoded: what counts is that coded video comes, and its stamp. So no libav is needed and no picture ever
exists here; the parser below is bounded, and bytes go no further than it.

Belongs here: what to send, what to make of what comes. Does not belong here: sockets
(`gateway.cameras.owner_recorder`), the verdict (`gateway.cameras.owner_answers`).
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from config.redact import Secret
from config.units import NTP_EPOCH_S

_MAX_HEAD_BYTES = 16 * 1024
_MAX_BODY_BYTES = 64 * 1024
#: A second of 4K video has about 1 MB; what sends more than this does not keep to the range.
MAX_MEDIA_BYTES = 8 * 1024 * 1024
#: How much is asked for, and how much of it is enough.
ASKED_MS = 2_000
ENOUGH_MS = 1_000
_REPLAY_EXTENSION = 0xABAC
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ReplayError(Exception):
    """The other side does not speak RTSP as it should; the message is for the log and holds none of its bytes."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it."""

    status: int | None  #: of the answer to `method`; None: there was none
    method: str  #: the last that was asked: DESCRIBE, SETUP, PLAY
    video: bool  #: the description has a video track
    cleartext: bool  #: it wants the password in the clear, and did not get it
    packets: int
    media_bytes: int
    first_ms: int | None  #: stamp of the first packet, the recorder's clock; None: it stamps nothing
    last_ms: int | None


class ReplayExchange:
    """`start` and `feed` answer what to send. Over when `done`, when the line ends, or when the caller's time is up."""

    def __init__(self, url: str, username: str, password: Secret, at_ms: int, nonce: str) -> None:
        """`url`: without credentials, its host as the recorder named it. `at_ms`: in the recorder's clock. `nonce`: of
        this client, for digest."""
        self._url = url
        self._username, self._password, self._cnonce = username, password, nonce
        self._at_ms = at_ms
        self._buffer = bytearray()
        self._sequence = self._logins = 0
        self._method = self._target = ""
        self._headers: tuple[str, ...] = ()
        self._challenge: dict[str, str] | None = None
        self._tried = self._video = self._cleartext = False
        self._status: int | None = None
        self._control = self._aggregate = self._session = ""
        self._channel = 0
        self._packets = self._media_bytes = 0
        self._first_ms: int | None = None
        self._last_ms: int | None = None
        self.done = False

    @property
    def found(self) -> Replayed:
        return Replayed(
            self._status, self._method, self._video, self._cleartext, self._packets, self._media_bytes, self._first_ms,
            self._last_ms,
        )  # fmt: skip

    @property
    def playing(self) -> bool:
        """PLAY was taken: from now on media is due."""
        return self._method == "PLAY" and self._status == 200

    def start(self) -> bytes:
        return self._request("DESCRIBE", self._url, "Accept: application/sdp")

    def teardown(self) -> bytes:
        """Recorders have few sessions for replay: one that was opened is given back."""
        if not self._session:
            return b""
        self._sequence += 1
        lines = [f"TEARDOWN {self._aggregate} RTSP/1.0", f"CSeq: {self._sequence}", f"Session: {self._session}"]
        if (login := self._login("TEARDOWN", self._aggregate)) is not None:
            lines.append(login)
        return "\r\n".join([*lines, "", ""]).encode()

    def feed(self, data: bytes) -> bytes:
        """Raises ReplayError."""
        self._buffer += data
        sent = b""
        while not self.done:
            if self._buffer[:1] == b"$":
                if len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[2:4], "big"):
                    return sent
                size = 4 + int.from_bytes(self._buffer[2:4], "big")
                if self._buffer[1] == self._channel and self.playing:
                    self._packet(bytes(self._buffer[4:size]))
                del self._buffer[:size]
                continue
            message = self._message()
            if message is None:
                return sent
            sent += self._answer(*message)
        return sent

    # --- requests -----------------------------------------------------------------------------------------------------

    def _request(self, method: str, target: str, *headers: str) -> bytes:
        self._method, self._target, self._headers, self._status = method, target, headers, None
        self._sequence += 1
        lines = [f"{method} {target} RTSP/1.0", f"CSeq: {self._sequence}", "User-Agent: tiergate", *headers]
        # DESCRIBE carries it too: a recorder that does not know it says 551, and not something else later.
        lines.append("Require: onvif-replay")
        if self._session:
            lines.append(f"Session: {self._session}")
        if (login := self._login(method, target)) is not None:
            lines.append(login)
        return "\r\n".join([*lines, "", ""]).encode()

    def _login(self, method: str, target: str) -> str | None:
        """RFC 7616 §3.4 as RFC 2326 has it; MD5 is what recorders speak, SHA-256 where it is offered."""
        if self._challenge is None:
            return None
        given = self._challenge
        digest = hashlib.sha256 if given.get("algorithm", "").upper() == "SHA-256" else hashlib.md5

        def hashed(text: str) -> str:
            return digest(text.encode(), usedforsecurity=False).hexdigest()

        realm, nonce = given.get("realm", ""), given.get("nonce", "")
        secret = hashed(f"{self._username}:{realm}:{self._password.reveal()}")
        asked = hashed(f"{method}:{target}")
        fields = {"username": self._username, "realm": realm, "nonce": nonce, "uri": target}
        plain = ""
        if "auth" in [word.strip() for word in given.get("qop", "").split(",")]:
            self._logins += 1
            count = f"{self._logins:08x}"
            fields |= {
                "cnonce": self._cnonce,
                "response": hashed(f"{secret}:{nonce}:{count}:{self._cnonce}:auth:{asked}"),
            }
            plain = f", qop=auth, nc={count}"
        else:
            fields["response"] = hashed(f"{secret}:{nonce}:{asked}")
        if "opaque" in given:
            fields["opaque"] = given["opaque"]
        quoted = ", ".join(f'{name}="{_quotable(value)}"' for name, value in fields.items())
        algorithm = f", algorithm={given['algorithm']}" if "algorithm" in given else ""
        return f"Authorization: Digest {quoted}{plain}{algorithm}"

    # --- answers ------------------------------------------------------------------------------------------------------

    def _message(self) -> tuple[int, dict[str, list[str]], str] | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES:
                raise ReplayError("the head of an answer has no end")
            return None
        first, *rest = self._buffer[:end].decode("utf-8", "replace").split("\r\n")
        headers: dict[str, list[str]] = {}
        for line in rest:
            name, _, value = line.partition(":")
            headers.setdefault(name.strip().lower(), []).append(value.strip())
        length = headers.get("content-length", ["0"])[0]
        if not re.fullmatch("[0-9]{1,6}", length) or int(length) > _MAX_BODY_BYTES:
            raise ReplayError("an answer that is too long")
        if len(self._buffer) < end + 4 + int(length):
            return None
        body = self._buffer[end + 4 : end + 4 + int(length)].decode("utf-8", "replace")
        del self._buffer[: end + 4 + int(length)]
        status = re.match(r"RTSP/1\.[01] ([1-5][0-9]{2})(?: |$)", first)
        if status is None and first.startswith(("OPTIONS ", "GET_PARAMETER ", "SET_PARAMETER ", "ANNOUNCE ")):
            return 0, {}, ""  # a request of the server's: nothing that would have to be answered within seconds
        if status is None:
            raise ReplayError("no answer of RTSP")
        return int(status[1]), headers, body

    def _answer(self, status: int, headers: dict[str, list[str]], body: str) -> bytes:
        if status < 200 or (cseq := headers.get("cseq")) is None or cseq[0] != str(self._sequence):
            return b""  # provisional, or of a request that is no longer waited for
        self._status = status
        if status == 401 and not self._tried:
            self._tried = True
            offered = headers.get("www-authenticate", [])
            digests = [value for value in offered if value.lower().startswith("digest")]
            if digests and self._username:
                given = [_fields(value) for value in digests]
                # Several are offered strongest first; what is neither of the two is none of ours.
                self._challenge = next(
                    (one for one in given if one.get("algorithm", "MD5").upper() in ("MD5", "SHA-256")), None
                )
                if self._challenge is not None:
                    return self._request(self._method, self._target, *self._headers)
            self._cleartext = bool(offered) and not digests
        if status != 200:
            self.done = True
            return b""
        if self._method == "DESCRIBE":
            base = (headers.get("content-base") or headers.get("content-location") or [self._url])[0]
            found = _video_control(body)
            if found is None:
                self.done = True
                return b""
            self._video = True
            # Only the path of what it names is used, with the address that was checked: the line is one already.
            try:
                self._aggregate, self._control = (self._here(_joined(base, one)) for one in found)
            except ValueError as exc:
                raise ReplayError("a description with an address that is none") from exc
            transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
            return self._request("SETUP", self._control, transport)
        if self._method == "SETUP":
            self._session = headers.get("session", [""])[0].partition(";")[0].strip()[:200]
            channel = re.search(r"interleaved=([0-9]{1,3})", headers.get("transport", [""])[0])
            self._channel = int(channel[1]) if channel else 0
            if not self._session:
                raise ReplayError("a set-up without a session")
            asked = f"Range: clock={clock_text(self._at_ms)}-{clock_text(self._at_ms + ASKED_MS)}"
            return self._request("PLAY", self._aggregate, asked, "Rate-Control: yes", "Immediate: yes")
        return b""

    def _here(self, url: str) -> str:
        parts, own = urlsplit(url), urlsplit(self._url)
        return urlunsplit((own.scheme, own.netloc, parts.path, parts.query, ""))

    def _packet(self, packet: bytes) -> None:
        """RFC 3550 §5.1; the extension as in the ONVIF Streaming Specification."""
        if len(packet) < 12 or packet[0] >> 6 != 2:
            return
        start = 12 + 4 * (packet[0] & 0x0F)
        if packet[0] & 0x10 and len(packet) >= start + 4:
            kind, words = struct.unpack_from("!HH", packet, start)
            if kind == _REPLAY_EXTENSION and words >= 3 and len(packet) >= start + 16:
                seconds, fraction = struct.unpack_from("!II", packet, start + 4)
                self._last_ms = (seconds - NTP_EPOCH_S) * 1000 + (fraction * 1000 + (1 << 31) >> 32)
                self._first_ms = self._last_ms if self._first_ms is None else self._first_ms
            start += 4 + 4 * words
        if len(packet) <= start:
            return
        self._packets += 1
        self._media_bytes += len(packet) - start
        first_ms, last_ms = self._first_ms, self._last_ms
        if first_ms is not None and last_ms is not None and last_ms - first_ms >= ENOUGH_MS:
            self.done = True
        self.done = self.done or self._media_bytes >= MAX_MEDIA_BYTES


def clock_text(value_ms: int) -> str:
    """``utc-time`` of RFC 2326 §3.7."""
    moment = _EPOCH + timedelta(milliseconds=value_ms)
    return moment.strftime("%Y%m%dT%H%M%S.") + f"{value_ms % 1000:03d}Z"


def _quotable(text: str) -> str:
    """Inside a quoted string; whatever would end the line is left out."""
    clean = "".join(c for c in text if c.isprintable())
    return clean.replace("\\", "\\\\").replace('"', '\\"')


def _fields(challenge: str) -> dict[str, str]:
    found = re.findall(r'([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))', challenge.partition(" ")[2])
    return {name.lower(): quoted or bare for name, quoted, bare in found}


def _video_control(description: str) -> tuple[str, str] | None:
    """(control of all, control of the first video track) of an SDP; None: it has no video."""
    whole, video, section = "*", None, "session"
    for line in description.splitlines():
        if line.startswith("m="):
            if section == "video":
                break
            section = "video" if line.startswith("m=video") else "other"
            video = "*" if section == "video" else video
        elif line.startswith("a=control:"):
            value = line.partition(":")[2].strip()
            if section == "session":
                whole = value
            elif section == "video":
                video = value
    return None if video is None else (whole, video)


def _joined(base: str, control: str) -> str:
    """RFC 2326 appendix C.1.1, as recorders mean it: appended, not resolved like a link of the web."""
    if control in ("*", ""):
        return base
    if "://" in control:
        return control
    return base + ("" if base.endswith("/") else "/") + control
