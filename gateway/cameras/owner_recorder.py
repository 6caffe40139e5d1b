"""Asks an owner's recorder for footage of some instants: by ONVIF Profile G what it lists, by replay what it gives.

One recorder is asked by one question at a time, its clock is measured first and accounted for, every step has a
deadline, and addresses it names are held against the allowed networks. Refused logins are counted together with those
of the node's recorders (`gateway.ingest.logins`): a device counts them whoever makes them, so after one refusal nothing
more is asked of it.

Belongs here: the order of one visit, sockets of replay. Does not belong here: the protocols (`gateway.cameras.onvif`,
`recordings`, `replay`), what an answer is worth (`gateway.cameras.owner_answers`), which instants, rows.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.reasons import Reason
from config.redact import Secret, redact_url, split_credentials
from config.settings import Settings
from gateway.cameras import onvif, owner_answers, recordings
from gateway.cameras.address import allowed_address
from gateway.cameras.onboarding import SCHEMES
from gateway.cameras.owner_answers import Answer, Recording
from gateway.cameras.replay import ReplayError, ReplayExchange
from gateway.ingest.logins import Account, Logins, account_of

_log = logging.getLogger(__name__)

#: PLAY was taken: a recorder with sleeping disks needs some seconds to the first picture.
_FIRST_MEDIA_S = 10.0
_READ_BYTES = 64 * 1024
_LOGIN_POLL_S = 0.2
_GOODBYE_S = 1.0


@dataclass(frozen=True, slots=True)
class Target:
    """Whose recorder is asked, and with which account."""

    camera_id: str
    onvif_url: str | None
    stream_url: str  #: of the camera's main stream: its host and port stand for the device in the count of logins
    profiles: tuple[str, ...]  #: ONVIF profile tokens of its streams
    username: str
    password: Secret
    changed_ms: int  #: when the account was last changed

    @property
    def device(self) -> str:
        """Cameras with the same are channels of one recorder."""
        return urlsplit(self.onvif_url or self.stream_url).hostname or ""

    @property
    def account(self) -> Account:
        return account_of(self.stream_url, self.username, self.password, self.changed_ms)


@dataclass(frozen=True, slots=True)
class Answered:
    """One instant and what the recorder showed of it."""

    at_ms: int
    answer: Answer
    clock_offset_ms: int | None


class OwnerRecorders:
    """Safe to use from several tasks of one event loop."""

    def __init__(self, settings: Settings, clock: Clock, logins: Logins) -> None:
        self._networks = settings.cameras.allowed_networks
        self._timeout_s = settings.cameras.connect_timeout_s
        self._clock = clock
        self._logins = logins

    async def ask(self, target: Target, instants: Sequence[int]) -> list[Answered]:
        """Never raises for what a device does: that is an answer."""
        if target.onvif_url is None:
            return _all(instants, Reason("camera.owner_no_onvif"))
        wait_s = await self._turn(target.account)
        if wait_s > 0:
            return _all(instants, Reason("camera.owner_login_rests", {"minutes": -(-int(wait_s) // 60)}))
        taken: bool | None = None
        try:
            found = await self._visit(target, target.onvif_url, instants)
            refused = any(one.answer[1].code == "camera.bad_login" for one in found)
            taken = not refused
        except TiergateError as error:
            taken = False if error.reason.code == "camera.onvif_credentials" else None
            found = _all(instants, error.reason)
        finally:
            self._logins.told(target.account, taken)
        return found

    async def _turn(self, account: Account) -> float:
        """0: it is ours, and `told` must follow. Short waits (others sign in there now) are waited for."""
        until_s = asyncio.get_running_loop().time() + self._timeout_s
        while True:
            wait_s = await asyncio.to_thread(self._logins.wait_s, account)
            if not 0 < wait_s < 1 or asyncio.get_running_loop().time() > until_s:
                return wait_s
            await asyncio.sleep(_LOGIN_POLL_S)

    async def _visit(self, target: Target, address: str, instants: Sequence[int]) -> list[Answered]:
        async with onvif.connect(
            address, target.username, target.password, self._networks, self._timeout_s, self._clock
        ) as device:
            offset_ms = round(device.clock_offset_s * 1000)
            recording = await _recording_of(device, target.profiles)
            url = await recordings.replay_url(device, recording) if recording.spans_ms else None
        found: list[Answered] = []
        trouble: Reason | None = None  #: what stood in the way once is not tried again for the other instants
        for at_ms in instants:
            answer = owner_answers.listed(recording, at_ms, offset_ms)
            if answer is None and trouble is None:
                answer = await self._replay(target, url, at_ms, offset_ms)
                if answer[0] == "unknown" and answer[1].code != "camera.owner_replay_unstamped":
                    trouble = answer[1]
            found.append(Answered(at_ms, answer or ("unknown", trouble or Reason("camera.owner_no_replay")), offset_ms))
        return found

    async def _replay(self, target: Target, url: str | None, at_ms: int, offset_ms: int) -> Answer:
        if url is None:
            return "unknown", Reason("camera.owner_no_replay")
        try:
            clean, _, _ = split_credentials(url)
        except ValueError:
            return "unknown", Reason("camera.url_malformed", {"url": redact_url(url)[:120]})
        scheme = urlsplit(clean).scheme.lower()
        if scheme not in SCHEMES:
            return "unknown", Reason("camera.scheme_refused", {"scheme": scheme[:20] or "?"})
        exchange = ReplayExchange(clean, target.username, target.password, at_ms + offset_ms, secrets.token_hex(8))
        try:
            host = await asyncio.to_thread(allowed_address, urlsplit(clean).hostname or "", self._networks)
            answered = await self._exchange(exchange, host, clean)
        except TiergateError as error:
            return "unknown", error.reason
        except (OSError, ValueError, ReplayError) as error:  # a broken line ends what was found, it does not undo it
            _log.info("replay broke off", extra={"camera": target.camera_id, "error": type(error).__name__})
            answered = False
        return owner_answers.replayed(exchange.found, at_ms, offset_ms, answered=answered)

    async def _exchange(self, exchange: ReplayExchange, host: str, url: str) -> bool:
        """Whether the line stood to the end. `host`: the address that was checked."""
        parts = urlsplit(url)
        secure = None
        if parts.scheme.lower() == "rtsps":
            secure = ssl.create_default_context()
            secure.check_hostname, secure.verify_mode = False, ssl.CERT_NONE  # recorders sign for themselves
        port = parts.port or (322 if secure else 554)
        try:
            async with asyncio.timeout(self._timeout_s):
                reader, writer = await asyncio.open_connection(host, port, ssl=secure)
        except TimeoutError:
            return False
        try:
            return await self._talk(exchange, reader, writer)
        finally:
            goodbye = exchange.teardown()
            with contextlib.suppress(OSError, TimeoutError):
                writer.write(goodbye)
                # Closing over unread packets would reset the line, and the recorder might never read this.
                async with asyncio.timeout(_GOODBYE_S):
                    while goodbye and (data := await reader.read(_READ_BYTES)) and b"RTSP/1." not in data:
                        pass
            writer.close()

    async def _talk(self, exchange: ReplayExchange, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(exchange.start())
        loop = asyncio.get_running_loop()
        until_s, playing = loop.time() + self._timeout_s, False
        while not exchange.done:
            try:
                async with asyncio.timeout_at(until_s):
                    data = await reader.read(_READ_BYTES)
            except TimeoutError:
                return exchange.playing
            if not data:  # an end after PLAY is how some end a range
                return exchange.playing
            sent = exchange.feed(data)
            if sent:
                writer.write(sent)
                until_s = loop.time() + self._timeout_s
            if exchange.playing and not playing:
                until_s, playing = loop.time() + max(_FIRST_MEDIA_S, self._timeout_s), True
        return True


async def _recording_of(device: onvif.OnvifDevice, profiles: Sequence[str]) -> Recording:
    """Raises camera.no_recordings, camera.owner_search_unfinished, camera.owner_not_told_apart."""
    known = await recordings.recordings(device)
    if not known:
        return Recording("", "", ())
    jobs = await recordings.recorded_profiles(device) if len(known) > 1 else {}
    chosen = owner_answers.choose(known, jobs, profiles, ())
    if chosen is None:
        chosen = owner_answers.choose(known, jobs, profiles, await _video_sources(device, profiles))
    if chosen is None:
        raise TiergateError(Kind.UNAVAILABLE, "camera.owner_not_told_apart", count=len(known))
    return chosen


async def _video_sources(device: onvif.OnvifDevice, profiles: Sequence[str]) -> set[str]:
    try:
        return {one.source for one in await device.profiles() if one.token in profiles}
    except Exception as error:  # a device may record and have no media service; the library raises many kinds for it
        _log.info("a recorder does not tell its profiles", extra={"error": type(error).__name__})
        return set()


def _all(instants: Sequence[int], reason: Reason) -> list[Answered]:
    return [Answered(at_ms, ("unknown", reason), None) for at_ms in instants]
