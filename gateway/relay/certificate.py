"""The certificate that the relay shows to other nodes, changed while it runs and without pairing anew.

It follows the files of the settings: whoever writes another pair there, or `tiergate link rotate-certificate`, or the
relay itself a month before the end of one that its own CA made, only says what shall be shown. The relay goes on
showing the one that linked nodes know, from its own copy, until each node that calls it has the announcement; then
handshakes get the new one, and connections that stand go on. A node that is away is waited for, however long: whoever
looks (`link certificate`, `doctor`) sees for whom, and `--finish --force` waits no longer.

What is where is one fact of the catalog (`tiering.pins.OWN`) whose pairs are on the disk before it names them: killed
anywhere, the next look goes on.

Belongs here: the order of steps. Does not belong here: states and statements (`tiering.certificates`), files
(`gateway.relay.pairs`), the exchange with other nodes (`gateway.relay.keeping`), the command
(`gateway.ops.relay_rotation`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from config.clock import Clock, wall_ms
from config.errors import TiergateError
from config.settings import Settings
from gateway.ops.certificates import renewed
from gateway.ops.changing_tls import ChangingContext, Stamps, stamps_of
from gateway.ops.locks import KEYS_LOCK, alone
from gateway.ops.tasks import alongside
from gateway.relay import pairs
from gateway.relay.http import certificate_sha256, digest_of_chain
from storage.audit import log as audit
from storage.catalog.engine import Catalog
from tiering import pins
from tiering.certificates import OVERLAP_MS, Certificates

LOOK_S = 2.0
RENEW = timedelta(days=30)  #: before its end
ACTOR = "system:relay"
_log = logging.getLogger(__name__)

Step = Callable[[Certificates], Certificates]


def shown(connection: Connection, settings: Settings) -> bytes | None:
    """Digest of what the relay shows; None without TLS."""
    if settings.relay.tls_cert is None:
        return None
    state = pins.own(connection)
    return certificate_sha256(settings.relay.tls_cert) if state is None else state.shown


def settings_pair(settings: Settings) -> bytes:
    """Certificate, chain and key as the settings' files hold them. Raises OSError."""
    assert settings.relay.tls_cert is not None and settings.relay.tls_key is not None  # noqa: S101 - the caller asked
    return settings.relay.tls_cert.read_bytes() + b"\n" + settings.relay.tls_key.read_bytes()


def adopt(catalog: Catalog, settings: Settings, now_ms: int) -> Certificates:
    """What is shown, to begin with: as the catalog says, or as the settings' files are when it says nothing or its pair
    is gone. In the last case the nodes must be paired again. Raises what loading a pair raises."""
    folder = settings.paths.keys_dir
    state = catalog.read(pins.own)
    if state is not None and pairs.path_of(folder, state.shown).exists():
        return state
    file = pairs.keep(folder, settings_pair(settings))

    def write(connection: Connection) -> Certificates:
        before = pins.own(connection)
        if before is not None and before != state:
            return before
        made = Certificates(file, file) if before is None else replace(before, shown=file, file=file, changed_ms=now_ms)
        if before is not None and before.shown != file:
            made = made.withdraw(now_ms)
            _log.error("the relay's certificate is gone, linked nodes must be paired again")
            audit.append(connection, now_ms, ACTOR, "relay.certificate_lost", before.shown.hex(), {"shown": file.hex()})
        pins.put(connection, made)
        return made

    return catalog.write(write)


def change(
    catalog: Catalog, step: Step, now_ms: int, actor: str, action: str, details: dict[str, Any] | None = None
) -> Certificates:
    """One step of the state, with its line in the audit log when it says something new to other nodes."""

    def write(connection: Connection) -> Certificates:
        before = pins.own(connection)
        assert before is not None  # noqa: S101 - `adopt` came first
        after = step(before)
        if after != before:
            pins.put(connection, after)
        if after.issued_ms != before.issued_ms:
            about = {"shown": after.shown.hex(), "before": after.before and after.before.hex(),
                     "until_ms": after.until_ms}  # fmt: skip
            subject = (after.coming or after.shown).hex()
            audit.append(connection, now_ms, actor, action, subject, about | (details or {}))
        return after

    return catalog.write(write)


class RelayCertificate:
    """`listen` hears the digest of what is shown from then on."""

    def __init__(self, settings: Settings, catalog: Catalog, clock: Clock, listen: Callable[[bytes], None]) -> None:
        relay = settings.relay
        assert relay.tls_cert is not None and relay.tls_key is not None  # noqa: S101 - the caller asked
        self._settings, self._catalog, self._clock = settings, catalog, clock
        self._folder, self._files = settings.paths.keys_dir, (relay.tls_cert, relay.tls_key)
        self._listen = listen
        self._seen: Stamps | None = None
        self._given: ChangingContext | None = None
        self._shown: bytes | None = None
        self._ends: datetime | None = None  #: of what is shown, while this node could make another

    def open(self) -> None:
        """Raises what loading a pair raises: at a start there must be one."""
        self._show(adopt(self._catalog, self._settings, wall_ms(self._clock)).shown)
        self.look()

    def context(self, _config: object, _make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """For uvicorn's `ssl_context_factory`, after `open`."""
        assert self._given is not None  # noqa: S101 - `open` came first
        return self._given.first

    def look(self) -> None:
        """Takes what steps can be taken now. While a backup reads keys, or a person exchanges them, none."""
        stamps, now_ms = stamps_of(*self._files), wall_ms(self._clock)
        state, waiting = self._catalog.read(self._read)
        is_file_new = stamps is not None and stamps != self._seen
        is_ready = state.coming is not None and not waiting
        if is_file_new or is_ready or self._ends_soon(state, now_ms) or self._leftovers(state):
            with contextlib.suppress(TiergateError), alone(
                self._settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"
            ):  # fmt: skip
                state = self._move(stamps if is_file_new else None, now_ms)
        if state.shown != self._shown:
            self._show(state.shown)

    def _read(self, connection: Connection) -> tuple[Certificates, bool]:
        state = pins.own(connection)
        assert state is not None  # noqa: S101 - `adopt` came first
        return state, state.coming is not None and bool(pins.waiting(connection, state))

    def _move(self, stamps: Stamps | None, now_ms: int) -> Certificates:
        if stamps is not None:
            self._follow(stamps, now_ms)
        state, _ = self._catalog.read(self._read)
        if self._ends_soon(state, now_ms):
            self._renew(now_ms)
        state, waiting = self._catalog.read(self._read)
        if state.coming is not None and not waiting:
            state = self._turn(state.coming, now_ms)
        pairs.forget(self._folder, _named(state))
        return state

    def _turn(self, coming: bytes, now_ms: int) -> Certificates:
        try:
            pairs.context_of(pairs.path_of(self._folder, coming))
        except (OSError, ValueError):
            _log.error("the announced certificate is gone, the one before stays")
            step, action = _without(now_ms), "relay.certificate_withdrawn"
        else:
            step, action = _shown(now_ms), "relay.certificate_shown"
        return change(self._catalog, step, now_ms, ACTOR, action)

    def _follow(self, stamps: Stamps, now_ms: int) -> None:
        state, _ = self._catalog.read(self._read)
        try:
            pem = settings_pair(self._settings)
            digest = digest_of_chain(pem)
            if digest not in (state.file, state.shown, state.coming):
                pairs.keep(self._folder, pem)
        except (OSError, ValueError, TiergateError) as error:  # half renewed, or never a pair
            if stamps == stamps_of(*self._files):
                self._seen = stamps
                _log.warning("the changed certificate is not announced", extra={"problem": type(error).__name__})
            return
        if stamps != stamps_of(*self._files):
            return  # it may be half of each: the next look tells
        self._seen = stamps
        action = "relay.certificate_withdrawn" if digest == state.shown else "relay.certificate_announced"
        change(self._catalog, lambda s: s.follow(digest, now_ms), now_ms, ACTOR, action, {"why": "file"})

    def _ends_soon(self, state: Certificates, now_ms: int) -> bool:
        if state.coming is not None or self._ends is None or state.shown != self._shown:
            return False
        return datetime.fromtimestamp(now_ms // 1000, UTC) >= self._ends - RENEW

    def _renew(self, now_ms: int) -> None:
        assert self._shown is not None  # noqa: S101 - something is shown that ends
        made = renewed(self._folder, pairs.path_of(self._folder, self._shown).read_bytes(), self._clock)
        self._ends = None  # tried, once for each that is shown
        if made is not None:
            coming, details = pairs.keep(self._folder, made), {"why": "ends"}
            step = announced(coming, OVERLAP_MS, now_ms)
            change(self._catalog, step, now_ms, ACTOR, "relay.certificate_announced", details)

    def _leftovers(self, state: Certificates) -> bool:
        return bool(pairs.strangers(self._folder, _named(state)))

    def _show(self, digest: bytes) -> None:
        pair = pairs.path_of(self._folder, digest)
        context = pairs.context_of(pair)
        if self._given is None:
            self._given = ChangingContext(context)
        else:
            self._given.use(context)
            _log.info("another certificate is shown to linked nodes")
        self._shown, self._ends = digest, pairs.ends(pair.read_bytes())
        self._listen(digest)

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        async with alongside(self._run(), "relay-certificate"):
            yield

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                await asyncio.to_thread(self.look)
            except Exception:
                _log.exception("the relay's certificate could not be looked after")


def announced(coming: bytes, overlap_ms: int, now_ms: int) -> Step:
    return lambda state: state.begin(coming, overlap_ms, now_ms)


def _shown(now_ms: int) -> Step:
    return lambda state: state.show(now_ms)


def _without(now_ms: int) -> Step:
    return lambda state: replace(state.withdraw(now_ms), file=None)


def _named(state: Certificates) -> list[bytes]:
    return [digest for digest in (state.shown, state.coming, state.before) if digest is not None]


def pair_shown(connection: Connection, settings: Settings) -> Path | None:
    """The file with the certificate that the relay shows; None without TLS."""
    digest = shown(connection, settings)
    if digest is None:
        return None
    kept = pairs.path_of(settings.paths.keys_dir, digest)
    return kept if kept.exists() else settings.relay.tls_cert
