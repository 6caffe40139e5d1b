"""Who may sign in at a device now: all streams of an account share one record of refused logins (FAULTS A28).

A device counts refused logins whoever makes them: main and sub stream, thirty channels of one recorder, the process
that crashed a minute ago and the one that took its place. So the record is kept per device and user name, and on disk
as well. While it is not known whether the device takes a secret, so many streams try as may be refused; once one is in,
all that have the same secret follow. A refusal from before the secret was changed says nothing about the new one.

Belongs here: that record. Does not belong here: how many tries there are (`gateway.ingest.backoff`, pure).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from config.clock import Clock, wall_ms
from config.redact import Secret
from gateway.ingest.backoff import LOGIN_WINDOW_S, login_wait_s

_log = logging.getLogger(__name__)

#: A secret that was taken so recently is taken again.
_KNOWN_S = 5.0
#: How soon to ask again while other streams try.
_POLL_S = 0.05

#: Of this process alone: what is told apart by it cannot be told by anybody else.
_pepper = secrets.token_bytes(16)


@dataclass(frozen=True, slots=True)
class Account:
    """A user of a device, with one secret."""

    device: str  #: host and port
    username: str
    secret_mark: bytes  #: equal for equal secrets, in this process
    changed_ms: int


def account_of(url: str, username: str, secret: Secret, changed_ms: int) -> Account:
    place = urlsplit(url)
    try:
        port = place.port
    except ValueError:
        port = None
    mark = hmac.digest(_pepper, secret.reveal().encode(), "sha256")
    return Account(f"{place.hostname}:{port or 554}", username, mark, changed_ms)


@dataclass(frozen=True, slots=True)
class _Refusal:
    at_s: float  #: monotonic
    wall_ms: int
    secret_mark: bytes | None  #: None: of another process


@dataclass(slots=True)
class _Record:
    refusals: list[_Refusal] = field(default_factory=list)  #: oldest first
    taken_s: dict[bytes, float] = field(default_factory=dict)  #: secret → when it was last taken
    under_way: int = 0
    read_ns: int = 0  #: modification time of the file as it was read


class Logins:
    """From any thread. Every `wait_s` that answers 0 is followed by one `told`."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        """Makes the folder, which all recorders of the node share."""
        folder.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._folder = folder
        self._lock = threading.Lock()
        self._records: dict[tuple[str, str], _Record] = {}

    def wait_s(self, account: Account) -> float:
        """0: try now. Otherwise how long to wait before asking again."""
        with self._lock:
            now_s = self._now_s()
            record = self._records.setdefault((account.device, account.username), _Record())
            self._read(account, record)
            taken_s = record.taken_s.get(account.secret_mark)
            if taken_s is None or now_s - taken_s >= _KNOWN_S:
                refused_s = [r.at_s for r in record.refusals if r.wall_ms >= account.changed_ms]
                wait_s = login_wait_s(refused_s, now_s)
                if wait_s > 0:
                    return wait_s
                if login_wait_s(refused_s, now_s, record.under_way) > 0:
                    return _POLL_S
            record.under_way += 1
            return 0.0

    def told(self, account: Account, taken: bool | None) -> None:
        """How the try ended; None: the device was not asked, or did not say."""
        with self._lock:
            record = self._records[account.device, account.username]
            record.under_way -= 1
            if taken is None:
                return
            mark = account.secret_mark
            if taken:
                record.taken_s[mark] = self._now_s()
                forgiven = [r for r in record.refusals if r.secret_mark in (mark, None)]
                if not forgiven:
                    return
            else:
                record.taken_s.pop(mark, None)
            with self._shared():
                self._read(account, record)
                if taken:
                    record.refusals = [r for r in record.refusals if r.secret_mark not in (mark, None)]
                else:
                    record.refusals.append(_Refusal(self._now_s(), wall_ms(self._clock), mark))
                now_s = self._now_s()
                record.refusals = [r for r in record.refusals if now_s - r.at_s < LOGIN_WINDOW_S]
                try:
                    self._write(account, record)
                except OSError as error:  # a full disk: what is known here is still known
                    _log.warning("refused logins are not written down", extra={"problem": type(error).__name__})

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    # -- on disk -----------------------------------------------------------------------------------------------------

    def _path(self, account: Account) -> Path:
        name = hashlib.sha256(f"{account.device} {account.username}".encode()).hexdigest()
        return self._folder / f"{name[:24]}.json"

    @contextlib.contextmanager
    def _shared(self) -> Iterator[None]:
        try:
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self, account: Account, record: _Record) -> None:
        """What other processes, or an earlier life of this one, have been told."""
        path = self._path(account)
        try:
            changed_ns = path.stat().st_mtime_ns
            if changed_ns == record.read_ns:
                return
            told_ms = [int(value) for value in json.loads(path.read_text())]
        except (OSError, ValueError, TypeError):
            return
        record.read_ns = changed_ns
        own = {refusal.wall_ms: refusal for refusal in record.refusals}
        now_s, now_ms = self._now_s(), wall_ms(self._clock)
        # The wall clock may have been set meanwhile: what lies in its future has happened just now.
        record.refusals = sorted(
            (own.get(at_ms) or _Refusal(now_s - max(0, now_ms - at_ms) / 1000, at_ms, None) for at_ms in told_ms),
            key=lambda refusal: refusal.at_s,
        )

    def _write(self, account: Account, record: _Record) -> None:
        path = self._path(account)
        if not record.refusals:
            path.unlink(missing_ok=True)
            record.read_ns = 0
            return
        new = path.with_suffix(".new")
        new.write_text(json.dumps([refusal.wall_ms for refusal in record.refusals]))
        os.replace(new, path)
        record.read_ns = path.stat().st_mtime_ns
