"""One RTSP client: requests in, responses and media out over the same TCP connection.

Belongs here: what each method demands and does, the one session that a connection has, its times and its end. Does not
belong here: bytes of messages (`gateway.rtsp.message`), who may what (`gateway.access.looks`), packets
(`gateway.rtsp.media`), listening (`gateway.rtsp.server`).

DESCRIBE, SETUP and PLAY are decided each time by the one decision point; a stream runs under a look, whose register
row stands before the first packet, and ends within seconds when its right does. A client that reads too slowly is
dropped forward to the next key frame by the hub, and holds up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from config.errors import Kind, TiergateError
from config.reasons import Reason, text
from gateway.access import digest
from gateway.access.looks import Look
from gateway.live import rtp
from gateway.live.hub import Notice, Picture, Started, StreamKey, Viewer
from gateway.rtsp import message, sdp
from gateway.rtsp.media import TrackSender
from gateway.rtsp.message import Malformed, Request, Target
from gateway.web.policy import Policy
from storage.catalog.engine import UNAVAILABLE
from storage.media.access_unit import StreamConfig, Track
from tiering.access import Function, Principal, Stream

if TYPE_CHECKING:
    from gateway.rtsp.server import RtspServer

_log = logging.getLogger(__name__)

_READ_BYTES = 16 * 1024
_BUFFER_BYTES = 256 * 1024  #: of media that wait in the transport before the client counts as slow
_REPORT_TICKS_S = 5  #: a sender report each so many seconds of media
FIRST_PICTURE_S = 10.0  #: as `gateway.web.routers.live` waits for a camera that is being opened

_STATUS = {
    Kind.INVALID: 400,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 455,
    Kind.TOO_LARGE: 413,
    Kind.RATE_LIMITED: 503,
    Kind.UNAVAILABLE: 503,
    Kind.ENVIRONMENT: 500,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. After them a client that should have done something is hung up on."""

    sign_in_s: float = 10.0  #: from the connection to the first request with a password that is right
    request_s: float = 10.0  #: from a message's first byte to its last
    session_s: float = 60.0  #: without a request or a frame of RTCP (`timeout` of the header Session)
    write_s: float = 20.0  #: for a response to be taken


class _Refused(Exception):
    """A response of the protocol's own: no matter of rights, and nothing for the log."""

    def __init__(self, status: int, *headers: tuple[str, str]) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers


@dataclass(slots=True)
class _Session:
    """From the first SETUP to TEARDOWN."""

    id: str
    target: Target
    password_id: str
    started: Started
    tracks: dict[int, TrackSender] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)


Handler = Callable[["Connection", Request], Awaitable[bytes]]


def demands(policy: Policy) -> Callable[[Handler], Handler]:
    """What a method demands of its caller, as `gateway.web.policy` says it of a route."""

    def mark(handler: Handler) -> Handler:
        handler.policy = policy  # type: ignore[attr-defined]  # read by `declared` alone
        return handler

    return mark


def declared(connection: type[Connection]) -> dict[str, tuple[Policy, Handler]]:
    """Every method of RTSP with its policy: the functions ``on_<method>``. Raises LookupError naming those without
    one: called at start, so that such a program does not run."""
    handlers = {
        name.removeprefix("on_").upper(): handler
        for name, handler in vars(connection).items()
        if name.startswith("on_")
    }
    bad = sorted(name for name, handler in handlers.items() if not hasattr(handler, "policy"))
    if bad:
        raise LookupError("RTSP methods without a policy: " + ", ".join(bad))
    return {name: (handler.policy, handler) for name, handler in handlers.items()}


class Connection:
    def __init__(self, server: RtspServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._server = server
        self._services = server.services
        self._reader = reader
        self._writer = writer
        peer = writer.get_extra_info("peername")
        self.client = str(peer[0]) if isinstance(peer, tuple) else "local"
        self._parser = message.Parser()
        #: One per connection: an answer that was overheard elsewhere opens nothing here.
        self._nonce = secrets.token_hex(16)
        self._nonce_count = 0
        self._principal: Principal | None = None  #: of the request at hand
        self._described: tuple[Target, Started] | None = None
        self._session: _Session | None = None
        self.signed_in = False

    @property
    def playing(self) -> bool:
        return self._session is not None and self._session.task is not None

    # --- the life of a connection -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until either side hangs up. Never raises but CancelledError."""
        try:
            await self._converse()
        except TimeoutError:
            _log.info("RTSP client was too slow or silent", extra={"client": self.client})
        except (OSError, EOFError):
            pass  # it has left
        finally:
            try:
                await self._end_session()
            finally:
                await self._close()

    def hang_up(self) -> None:
        """The conversation ends as if the client had left."""
        self._writer.transport.abort()

    async def _converse(self) -> None:
        self._writer.transport.set_write_buffer_limits(high=_BUFFER_BYTES)
        loop, limits = asyncio.get_running_loop(), self._server.limits
        deadline = loop.time() + limits.sign_in_s
        message_deadline: float | None = None
        while True:
            async with asyncio.timeout_at(min(deadline, message_deadline or deadline)):
                data = await self._reader.read(_READ_BYTES)
            if not data:
                return
            for found in self._parser.feed(data):
                if isinstance(found, Malformed):
                    self._server.counters.malformed += 1
                    await self._send(message.response(found.status, found.cseq, [("Connection", "close")]))
                    return
                if isinstance(found, Request):
                    await self._send(await self._answer(found))
                if self.signed_in:
                    deadline = loop.time() + limits.session_s
                message_deadline = None  # another one may have begun; it has its time from here on
            if not self._parser.partial:
                message_deadline = None
            elif message_deadline is None:
                message_deadline = loop.time() + limits.request_s

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(self._server.limits.write_s):
            await self._writer.drain()

    async def _close(self) -> None:
        """What the client has not taken by now it does not get."""
        if self._writer.transport.get_write_buffer_size():
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.wait_closed()

    # --- one request --------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> bytes:
        """The response, whatever happens."""
        try:
            known = self._server.methods.get(request.method)
            if known is None:
                self._services.limits.request(None, self.client)
                raise _Refused(501, ("Public", self._server.public))
            policy, handler = known
            if "require" in request.headers:
                raise _Refused(551, ("Unsupported", request.headers["require"]))
            await self._admit(policy, request)
            return await handler(self, request)
        except _Refused as refused:
            return message.response(refused.status, request.cseq, refused.headers)
        except TiergateError as error:
            return self._refusal(request, error)
        except UNAVAILABLE as error:
            _log.error("the catalog refused", exc_info=error)
            return self._refusal(request, TiergateError(Kind.UNAVAILABLE, "web.unavailable"))
        except (OSError, EOFError):
            raise
        except Exception:
            _log.exception("an RTSP request failed", extra={"method": request.method})
            return message.response(500, request.cseq)

    async def _admit(self, policy: Policy, request: Request) -> None:
        """Lets pass whoever `policy` is met by. Raises what `_refusal` and `_answer` turn into responses."""
        if policy.function is not None:
            principal = await self._who(request)
            self._services.limits.request(principal, self.client)
            target = self._target(request)
            await self._services.looks.decide(
                principal, policy.function, target.camera, stream=cast("Stream", target.stream), client=self.client,
                unmarked=True,
            )  # fmt: skip
            self._principal = principal
            self.signed_in = True
            return
        self._services.limits.request(None, self.client)
        if policy.path_session:
            self._require_session(request)

    def _require_session(self, request: Request) -> _Session:
        named = request.headers.get("session", "").partition(";")[0].strip()
        if self._session is None or not secrets.compare_digest(named.encode(), self._session.id.encode()):
            raise _Refused(454)
        return self._session

    async def _who(self, request: Request) -> Principal:
        """Whose password the request was made with. Raises access.not_signed_in, access.bad_login and what the
        password's own end raises."""
        answer = digest.parse(request.headers.get("authorization", ""))
        if answer is None:
            self._services.limits.request(None, self.client)
            raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")
        principal = await self._server.judge(self.client, answer, request.method)
        count = answer.count
        if answer.nonce != self._nonce or (count is not None and count <= self._nonce_count):
            raise _Refused(401, *self._challenges(stale=True))
        if not _same_stream(answer.uri, request.uri):
            raise TiergateError(Kind.UNAUTHENTICATED, "access.not_signed_in")
        self._nonce_count = max(self._nonce_count, count or 0)
        return principal

    def _challenges(self, stale: bool = False) -> list[tuple[str, str]]:
        return [("WWW-Authenticate", value) for value in digest.challenges(self._nonce, stale)]

    def _refusal(self, request: Request, error: TiergateError) -> bytes:
        """With the reason's code, and its words as a body."""
        status = _STATUS[error.kind]
        headers = [("X-Tiergate-Reason", error.reason.code)]
        if error.kind is Kind.UNAUTHENTICATED:
            headers += self._challenges()
        elif error.reason.code == "access.too_many_open":
            status = 453
        elif error.kind is Kind.RATE_LIMITED:
            headers.append(("Retry-After", str(error.reason.params.get("seconds", 1))))
        self._server.counters.refused[error.reason.code] += 1
        words = text(error.reason, self._services.settings.node.language)
        headers.append(("Content-Type", "text/plain; charset=utf-8"))
        return message.response(status, request.cseq, headers, words.encode() + b"\n")

    def _target(self, request: Request) -> Target:
        """Raises access.not_found."""
        target = message.target_of(request.uri)
        if target is None:
            raise TiergateError(Kind.NOT_FOUND, "access.not_found")
        return target

    # --- methods ------------------------------------------------------------------------------------------------------

    @demands(Policy(public=True))
    async def on_options(self, request: Request) -> bytes:
        headers = [("Public", self._server.public)]
        if self._session is not None and "session" in request.headers:  # how some clients keep a session alive
            self._require_session(request)
            headers.append(self._session_header(self._session))
        return message.response(200, request.cseq, headers)

    @demands(Policy(function=Function.LIVE))
    async def on_describe(self, request: Request) -> bytes:
        target = self._target(request)
        self._described = None  # the camera may have been set up anew since
        started = await self._parameters(target)
        body = sdp.describe(started.config, secrets.randbits(62))
        headers = [("Content-Base", target.base), ("Content-Type", "application/sdp"), ("Cache-Control", "no-store")]
        return message.response(200, request.cseq, headers, body)

    @demands(Policy(function=Function.LIVE))
    async def on_setup(self, request: Request) -> bytes:
        target, session = self._target(request), self._session
        taken = frozenset(n for sender in session.tracks.values() for n in sender.channels) if session else frozenset()
        channels = message.interleaved_channels(request.headers.get("transport", ""), taken)
        if channels is None:
            raise _Refused(461)  # over UDP nothing is sent: most clients ask again for this connection
        if session is not None and "session" in request.headers:
            self._require_session(request)
        if session is not None and (session.target.key != target.key or session.password_id != self._password_id()):
            raise _Refused(459)
        if session is not None and session.task is not None:
            raise _Refused(455)
        started = session.started if session is not None else await self._parameters(target)
        number = target.track or sdp.VIDEO_TRACK
        audio = started.config.audio
        if number == sdp.AUDIO_TRACK and audio is None:
            raise _Refused(404)
        if session is None:
            session = self._session = _Session(secrets.token_hex(16), target, self._password_id(), started)
        kind, rate = sdp.VIDEO_TYPE, started.config.video.timescale
        if number == sdp.AUDIO_TRACK and audio is not None:
            kind, rate = sdp.audio_type(audio), audio.timescale
        sender = TrackSender(kind, rate, channels, secrets.randbits(32), secrets.randbits(16), secrets.randbits(32))
        session.tracks[number] = sender
        transport = f"RTP/AVP/TCP;unicast;interleaved={channels[0]}-{channels[1]};ssrc={sender.ssrc:08X}"
        return message.response(
            200, request.cseq, [("Transport", transport), self._session_header(session), ("Cache-Control", "no-store")]
        )

    @demands(Policy(function=Function.LIVE))
    async def on_play(self, request: Request) -> bytes:
        session = self._require_session(request)
        target = self._target(request)
        if target.key != session.target.key or session.password_id != self._password_id():
            raise _Refused(459)
        if sdp.VIDEO_TRACK not in session.tracks:
            raise _Refused(455)
        if session.task is None:
            await self._begin(session)
        info = ",".join(
            f"url={session.target.base}trackID={number};seq={sender.sequence}"
            for number, sender in sorted(session.tracks.items())
        )
        headers = [self._session_header(session), ("Range", "npt=now-"), ("RTP-Info", info)]
        return message.response(200, request.cseq, headers)

    @demands(Policy(path_session=True))
    async def on_teardown(self, request: Request) -> bytes:
        await self._end_session()
        return message.response(200, request.cseq)

    @demands(Policy(path_session=True))
    async def on_get_parameter(self, request: Request) -> bytes:
        """Without a body a sign of life (§10.8); there are no parameters to ask for."""
        session = self._require_session(request)
        return message.response(200, request.cseq, [self._session_header(session)])

    @demands(Policy(path_session=True))
    async def on_set_parameter(self, request: Request) -> bytes:
        """A sign of life of clients that know no other; nothing is set."""
        session = self._require_session(request)
        return message.response(200, request.cseq, [self._session_header(session)])

    def _password_id(self) -> str:
        assert self._principal is not None  # noqa: S101 - `_admit` let the request through
        return self._principal.stream_password or ""

    def _session_header(self, session: _Session) -> tuple[str, str]:
        return "Session", f"{session.id};timeout={max(1, round(self._server.limits.session_s))}"

    # --- the stream ---------------------------------------------------------------------------------------------------

    async def _parameters(self, target: Target) -> Started:
        """What the camera's stream is made of now. No picture leaves by it. Raises media.live_no_stream, and
        media.live_no_picture or the camera's own reason."""
        live = self._server.live
        if target.stream not in await live.offered(target.camera, None):
            raise TiergateError(Kind.NOT_FOUND, "media.live_no_stream", stream=target.stream)
        if self._described is not None and self._described[0].key == target.key:
            return self._described[1]
        last: Notice | None = None
        async with live.hub.viewer(_key(target)) as viewer:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_PICTURE_S):
                    while entries := await viewer.take():
                        for entry in entries:
                            if isinstance(entry, Started):
                                self._described = (target, entry)
                                return entry
                            if isinstance(entry, Notice):
                                last = entry
        if last is not None and last.reason is not None and "code" in last.reason:
            params = cast("dict[str, Any]", last.reason.get("params") or {})
            raise TiergateError(Kind.UNAVAILABLE, str(last.reason["code"]), **params)
        raise TiergateError(Kind.UNAVAILABLE, "media.live_no_picture", seconds=int(FIRST_PICTURE_S))

    async def _begin(self, session: _Session) -> None:
        """Opens the look; packets leave once the response to PLAY is in the connection's buffer. Raises as
        `Looks.open`."""
        assert self._principal is not None  # noqa: S101 - `_admit` let the request through
        async with contextlib.AsyncExitStack() as stack:
            look = await stack.enter_async_context(
                self._services.looks.open(
                    self._principal, Function.LIVE, session.target.camera,
                    stream=cast("Stream", session.target.stream), client=self.client, unmarked=True,
                )
            )  # fmt: skip
            audio = sdp.AUDIO_TRACK in session.tracks
            viewer = await stack.enter_async_context(self._server.live.hub.viewer(_key(session.target), audio))
            session.stack = stack.pop_all()
            session.task = self._server.tasks.start(self._stream(session, look, viewer), "rtsp stream")

    async def _stream(self, session: _Session, look: Look, viewer: Viewer) -> None:
        """Until the right or the stream ends, or the client leaves; then hangs up."""
        pump = asyncio.create_task(self._pump(session, look, viewer), name="rtsp pump")
        ended = asyncio.create_task(look.ended.wait(), name="rtsp look")
        try:
            await asyncio.wait({pump, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (pump, ended):
                task.cancel()
            results = await asyncio.gather(pump, ended, return_exceptions=True)
        why = look.reason if look.ended.is_set() else viewer.end_reason
        if isinstance(results[0], Reason):
            why = results[0]
        elif isinstance(results[0], Exception):
            _log.error("an RTSP stream failed", exc_info=results[0], extra={"camera": session.target.camera})
            look.end("error")
        transport = self._writer.transport
        if not transport.get_write_buffer_size() and not transport.is_closing():
            word = "ended" if why is None else why.code
            self._writer.write(b"".join(sender.goodbye(word) for sender in session.tracks.values()))
        await session.stack.aclose()
        await self._close()

    async def _pump(self, session: _Session, look: Look, viewer: Viewer) -> Reason | None:
        """Sends until the viewer ends (None) or the stream is no longer what was described."""
        config = session.started.config
        with contextlib.suppress(OSError):
            while entries := await viewer.take():
                for entry in entries:
                    if isinstance(entry, Picture):
                        data = b"".join(_packets(session, entry))
                        self._writer.write(data)
                        look.add_bytes(len(data))
                        await self._writer.drain()
                    elif isinstance(entry, Started) and not _alike(entry.config, config):
                        return Reason("media.rtsp_changed")
        return None

    async def _end_session(self) -> None:
        session, self._session = self._session, None
        if session is None:
            return
        if session.task is not None:
            session.task.cancel()
            await asyncio.gather(session.task, return_exceptions=True)
        await session.stack.aclose()


def _key(target: Target) -> StreamKey:
    return StreamKey(target.camera, target.stream)


def _same_stream(one: str, other: str) -> bool:
    """Clients put the URL of the whole stream or that of a track into their answer, whichever they are asked about."""
    a, b = message.target_of(one), message.target_of(other)
    return one == other or (a is not None and b is not None and a.key == b.key)


def _alike(one: StreamConfig, other: StreamConfig) -> bool:
    """Whether a client that was told of `other` can go on with `one`: parameter sets travel in the stream."""
    same_video = (one.video.codec, one.video.timescale) == (other.video.codec, other.video.timescale)
    return same_video and one.audio == other.audio


def _packets(session: _Session, picture: Picture) -> Iterator[bytes]:
    """The packets of one access unit, and a sender report before them when it is time for one."""
    video = picture.unit.track is Track.VIDEO
    sender = session.tracks.get(sdp.VIDEO_TRACK if video else sdp.AUDIO_TRACK)
    if sender is None:
        return
    at = picture.place.decode_time
    if sender.report_due(at, _REPORT_TICKS_S):
        yield sender.report(picture.unit.wall_ns, at)
    if video:
        yield sender.packets(picture.payloads, picture.presentation_time)
    elif picture.started.config.audio is not None and picture.started.config.audio.codec == "aac":
        yield sender.packets([rtp.aac_payload(picture.unit.data)], at)
    else:
        for offset, piece in rtp.g711_pieces(picture.unit.data):
            yield sender.packets([piece], at + offset)
