"""The change of the relay's certificate as a command begins and ends it, on this machine's files and beside the running
node. Audited as ``os:<login>``.

The relay does the rest (`gateway.relay.certificate`): it tells linked nodes, waits for those that call it, and shows
the new one. Here a person says that it shall begin, sees who knows it, and may say that nobody is waited for any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from config.clock import make_clock, wall_ms
from config.errors import Kind, TiergateError
from config.settings import Settings
from config.units import DAY_MS
from gateway.access.keys import require_owner
from gateway.ops.certificates import renewed
from gateway.ops.locks import KEYS_LOCK, alone
from gateway.ops.store_work import open_catalog
from gateway.relay import pairs
from gateway.relay.certificate import adopt, announced, change, settings_pair
from gateway.relay.http import digest_of_chain
from storage.catalog import links
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from tiering import pins
from tiering.certificates import OVERLAP_MOST_MS, Certificates


def begin(settings: Settings, actor: str, overlap_ms: int) -> dict[str, Any]:
    """Announces the next certificate, and says how far it is; the same of one that is announced already.

    `overlap_ms`: how long linked nodes take the old one after the new one is shown. Raises tier.certificate_off,
    tier.certificate_overlap, tier.certificate_same, access.keys_owner, access.keys_busy, settings.bad_value.
    """
    if overlap_ms > OVERLAP_MOST_MS:
        raise TiergateError(Kind.INVALID, "tier.certificate_overlap", most_days=OVERLAP_MOST_MS // DAY_MS)
    with _working(settings) as (catalog, now_ms):
        state = adopt(catalog, settings, now_ms)
        is_running = state.coming is not None
        if not is_running:
            coming, file = _next(settings, state)
            step = announced(coming, overlap_ms, now_ms)
            details = {"why": "command", "overlap_ms": overlap_ms}
            change(
                catalog, lambda s: replace(step(s), file=file), now_ms, actor, "relay.certificate_announced", details
            )
        return {"resumed": is_running} | catalog.read(lambda c: status(c, settings, now_ms))


def finish(settings: Settings, actor: str, force: bool) -> dict[str, Any]:
    """What was announced is shown; with `force` also to nodes that do not know it, which must then be paired again.

    Raises tier.certificate_off, tier.certificate_idle, tier.certificate_waits, access.keys_owner, access.keys_busy.
    """
    with _working(settings) as (catalog, now_ms):
        state = adopt(catalog, settings, now_ms)
        if state.coming is None:
            raise TiergateError(Kind.CONFLICT, "tier.certificate_idle")
        left = catalog.read(lambda c: pins.waiting(c, state))
        if left and not force:
            names = ", ".join(row.peer_name for row in left[:5])
            raise TiergateError(Kind.CONFLICT, "tier.certificate_waits", count=len(left), names=names)
        details = {"left_behind": [row.peer_node for row in left]}
        change(catalog, lambda s: s.show(now_ms), now_ms, actor, "relay.certificate_shown", details)
        return catalog.read(lambda c: status(c, settings, now_ms))


def look(settings: Settings) -> dict[str, Any]:
    """Raises tier.certificate_off."""
    _require_tls(settings)
    with open_catalog(settings) as catalog:
        now_ms = wall_ms(make_clock(settings))
        return catalog.read(lambda c: status(c, settings, now_ms))


def status(connection: Connection, settings: Settings, now_ms: int) -> dict[str, Any]:
    """What is shown, what comes, and which linked nodes know it. Before the relay ever ran nothing is known."""
    state = pins.own(connection)
    if state is None:
        return {"shown": None, "days_left": None, "coming": None, "before": None, "until_ms": None, "links": []}
    is_window = state.before is not None and state.until_ms is not None and now_ms < state.until_ms
    return {
        "shown": state.shown.hex(),
        "days_left": _days_left(settings, state.shown, now_ms),
        "coming": state.coming and state.coming.hex(),
        "before": state.before.hex() if is_window and state.before else None,
        "until_ms": state.until_ms if is_window else None,
        "links": [_line(row, state) for row in links.all_of(connection)],
    }


def _line(row: LinkRow, state: Certificates) -> dict[str, Any]:
    return {
        "id": row.id,
        "peer_name": row.peer_name,
        "peer_role": row.peer_role,
        "knows_certificate": state.is_taken(row.tls_told_ms, row.created_ms),
        "last_seen_ms": row.last_seen_ms,
    }


def _days_left(settings: Settings, digest: bytes, now_ms: int) -> int | None:
    try:
        ends = pairs.ends(pairs.path_of(settings.paths.keys_dir, digest).read_bytes())
    except (OSError, ValueError):
        return None
    return (ends - datetime.fromtimestamp(now_ms // 1000, UTC)).days


@contextmanager
def _working(settings: Settings) -> Iterator[tuple[Catalog, int]]:
    _require_tls(settings)
    require_owner(settings.paths.keys_dir)
    with alone(settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"), open_catalog(settings) as catalog:
        yield catalog, wall_ms(make_clock(settings))


def _require_tls(settings: Settings) -> None:
    if settings.relay.tls_cert is None:
        raise TiergateError(Kind.CONFLICT, "tier.certificate_off")


def _next(settings: Settings, state: Certificates) -> tuple[bytes, bytes | None]:
    """(the next one, kept; what the settings' file counts as from now on): a new one in the files, else one that this
    node makes."""
    folder = settings.paths.keys_dir
    try:
        pem = settings_pair(settings)
        file = digest_of_chain(pem)
        if file not in (state.shown, state.file):
            return pairs.keep(folder, pem), file
    except (OSError, ValueError) as error:
        problem = type(error).__name__
        raise TiergateError(Kind.ENVIRONMENT, "settings.bad_value", key="relay.tls_cert", problem=problem) from error
    made = renewed(folder, pairs.path_of(folder, state.shown).read_bytes(), make_clock(settings))
    if made is None:
        raise TiergateError(Kind.CONFLICT, "tier.certificate_same")
    return pairs.keep(folder, made), state.file
