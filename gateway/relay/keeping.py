"""The relay's loops: directories, heads of audit logs and monthly reports from below, purge at `cache_until`,
statements until acknowledged, endings retold.

`purge_due` runs before anything is served, so that a node that was down over a weekend starts clean (FAULTS C4).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

from sqlalchemy import Connection

from config.errors import TiergateError
from config.reasons import Reason
from config.units import HOUR_MS, month_before, month_of_ms, month_range_ms
from gateway.relay.agreement import Agreement
from gateway.relay.pulls import Pulls
from storage import use_view
from storage.audit import log as audit
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow
from storage.catalog.links import LinkRow
from tiering import directory, pins
from tiering.lease import canonical_json
from tiering.server import PURGE_GRACE_MS, TierServer, head_from_json, keep_head
from tiering.signing import Signer

_log = logging.getLogger(__name__)
POLL_S = 5.0
PURGE_S = 2.0
IDLE_S = 1.0
HEADS_EVERY_MS, HEADS_LOOK_S = HOUR_MS, 60.0
REPORTS_S = 600.0
CERTIFICATES_S, CERTIFICATES_EVERY_MS = 2.0, 60_000
SEEN_MS = 30_000  #: `last_seen_ms` is written this often, not at each poll


class Keeping:
    def __init__(self, pulls: Pulls, server: TierServer, signer: Signer, agreement: Agreement) -> None:
        self._pulls = pulls
        self._agreement = agreement
        self._server = server
        self._signer = signer
        self._digests: dict[str, str] = {}
        self._told: set[str] = set()
        self._ended: set[str] = set()
        self._overdue: set[str] = set()
        self._heads_ms: dict[str, int] = {}  #: link -> when heads were last exchanged
        self._newer: set[str] = set()  #: links whose directory told of a certificate that we have not heard of
        self._said: dict[str, tuple[int, int]] = {}  #: link -> (when, the issue of ours) it was last called about it
        self._purging = asyncio.Lock()  #: one purge, one statement: the loop and whoever ends a lease may meet
        self.problems: dict[str, Reason] = {}  #: link id -> why its node does not answer

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._loop(POLL_S, self.poll), name="directory-polls"),
            asyncio.create_task(self._loop(PURGE_S, self.tidy), name="cache-purge"),
            asyncio.create_task(self._loop(IDLE_S, self._server.close_idle), name="idle-looks"),
            asyncio.create_task(self._loop(HEADS_LOOK_S, self.exchange_heads), name="audit-heads"),
            asyncio.create_task(self._loop(CERTIFICATES_S, self.exchange_certificates), name="certificates"),
            asyncio.create_task(self._loop(REPORTS_S, self.fetch_reports), name="reports-of-use"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._server.close_idle(0)
            await self._server.quota.give_back()

    async def _loop(self, interval_s: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                _log.exception("a loop of the relay failed")
            await asyncio.sleep(interval_s)

    # -- directories -------------------------------------------------------------------------------------------------

    async def poll(self) -> None:
        """Asks every lower node once, side by side: one that hangs delays nobody."""
        below = await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower"))
        await asyncio.gather(*(self._poll_one(link) for link in below if link.usable))

    async def _poll_one(self, link: LinkRow) -> None:
        before = self._agreement.sighting()
        try:
            found = await self._pulls.pool.of(link).directory(self._digests.get(link.id))
        except TiergateError as exc:
            if self.problems.get(link.id) != exc.reason:
                _log.warning("the lower node does not answer", extra={"link": link.id, "code": exc.reason.code})
            self.problems[link.id] = exc.reason
            return
        self.problems.pop(link.id, None)
        await self._agreement.heard(before)
        issued_ms = found.node.get("certificate_ms")
        if isinstance(issued_ms, int) and issued_ms > (link.tls_issued_ms or 0):
            self._newer.add(link.id)
        now_ms = self._pulls.clock.now_ms()
        fresh = link.last_seen_ms is not None and now_ms - link.last_seen_ms < SEEN_MS
        ended = {str(entry["id"]) for entry in found.ended_leases}
        if fresh and found.cameras is None and ended <= self._ended:
            return  # nothing new: each commit wakes every process of the node
        self._ended |= ended
        over = await self._pulls.catalog.awrite(lambda c: directory.store(c, link, found, now_ms))
        self._digests[link.id] = found.digest
        for lease_id in over:
            self._pulls.ended(lease_id, Reason("tier.lease_ended"))

    # -- heads of audit logs -----------------------------------------------------------------------------------------

    async def exchange_heads(self) -> None:
        """With every lower node once an hour; it is the upper one that calls, as for everything."""
        below = await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower"))
        for link in below:
            now_ms, last_ms = self._pulls.clock.now_ms(), self._heads_ms.get(link.id)
            if link.usable and link.id not in self.problems and (last_ms is None or now_ms - last_ms >= HEADS_EVERY_MS):
                try:
                    await self._exchange(link, now_ms)
                except TiergateError as exc:
                    _log.warning("no heads were exchanged", extra={"link": link.id, "code": exc.reason.code})
                else:
                    self._heads_ms[link.id] = now_ms

    async def _exchange(self, link: LinkRow, now_ms: int) -> None:
        catalog, sign = self._pulls.catalog, self._signer.sign
        ours = await catalog.aread(lambda c: audit.signed_head(c, self._signer.public_key, sign, now_ms))
        theirs = head_from_json(await self._pulls.pool.of(link).heads(ours.as_json()))
        if not await catalog.awrite(lambda c: keep_head(c, link, theirs, now_ms)):
            _log.error("the audit log of the lower node has gone back", extra={"link": link.id, "seq": theirs.seq})

    # -- certificates ------------------------------------------------------------------------------------------------

    async def exchange_certificates(self) -> None:
        """With every lower node: when it told of a new one, when we have one, and each minute. It is the upper one
        that calls; a suspended link is asked too, for the window of a change may end before it is resumed."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        below, issued_ms = await catalog.aread(lambda c: (links.all_of(c, "lower"), pins.issued_ms(c)))
        due = [link for link in below if self._is_due(link, issued_ms, now_ms)]
        await asyncio.gather(*(self._exchange_certificates(link, issued_ms, now_ms) for link in due))

    def _is_due(self, link: LinkRow, issued_ms: int, now_ms: int) -> bool:
        last_ms, last_issued_ms = self._said.get(link.id, (0, -1))
        unknown = issued_ms > (link.tls_told_ms or 0) and last_issued_ms != issued_ms
        return link.id in self._newer or unknown or now_ms - last_ms >= CERTIFICATES_EVERY_MS

    async def _exchange_certificates(self, link: LinkRow, issued_ms: int, now_ms: int) -> None:
        self._newer.discard(link.id)
        self._said[link.id] = (now_ms, issued_ms)
        try:
            fresh = await self._hear(link)
            if fresh.tls_issued_ms != link.tls_issued_ms:
                await self._hear(fresh)  # every call goes by what it said from here on, and it is told so
        except TiergateError as exc:
            # A node whose software knows no such call keeps the certificate that it was paired with.
            if exc.reason.code != "tier.route_unknown" and link.id not in self.problems:
                _log.warning("no word on certificates", extra={"link": link.id, "code": exc.reason.code})

    async def _hear(self, link: LinkRow) -> LinkRow:
        """The link after its lower node was asked."""
        catalog = self._pulls.catalog
        ours = await catalog.aread(lambda c: pins.ours(c, self._signer, link.tls_issued_ms))
        theirs = await self._pulls.pool.of(link).certificates(ours)
        statement, now_ms = pins.judged(link, theirs), self._pulls.clock.wall_ms()
        if not pins.is_news(link, theirs, statement):
            return link
        return await catalog.awrite(lambda c: pins.take(c, link, theirs, statement, now_ms))

    # -- reports ---------------------------------------------------------------------------------------------------

    async def fetch_reports(self) -> None:
        """Last month's report of use from each lower node, once: how it saw us watch its cameras."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        month = month_before(month_of_ms(now_ms))
        over_ms = month_range_ms(month)[1]
        for link in await catalog.aread(lambda c: links.all_of(c, "lower")):
            known = await catalog.aread(partial(use_view.has_below, month=month, link_id=link.id))
            if known or not link.usable or link.created_ms >= over_ms or link.id in self.problems:
                continue
            try:
                found = await self._pulls.pool.of(link).use_report(month)
            except TiergateError as exc:
                if exc.reason.code != "tier.report_unknown":  # not made yet
                    _log.warning("no report of use", extra={"link": link.id, "code": exc.reason.code})
                continue
            said = partial(use_view.keep_below, month=month, link_id=link.id, name=link.peer_name, value=found)
            await catalog.awrite(partial(said, now_ms=now_ms))

    # -- endings -----------------------------------------------------------------------------------------------------

    async def tidy(self) -> None:
        await self.purge_due()
        await self.send_statements()
        await self._retell()
        await self._alarm()

    async def purge_due(self) -> None:
        """Deletes what is due now. An emergency that nobody confirmed in time loses its cache while it still runs."""
        async with self._purging:
            await self._purge_due()

    async def _purge_due(self) -> None:
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        late, due = await catalog.aread(lambda c: (leases.unconfirmed_late(c, now_ms), leases.to_purge(c, now_ms)))
        for row in late:
            if row.cache_until_ms > now_ms:
                await asyncio.to_thread(self._pulls.cache.purge, row.id, now_ms)
                await catalog.awrite(partial(_unconfirmed, row=row, now_ms=now_ms))
        for row in due:
            statement = await asyncio.to_thread(self._pulls.cache.purge, row.id, now_ms)
            if statement.remaining or not statement.key_destroyed:
                _log.error("the cache of a lease cannot be purged", extra={"lease": row.id})
                continue
            text = canonical_json(statement.as_json())
            kept = {"statement": text, "signature": self._signer.sign(text.encode()).as_text()}
            await catalog.awrite(partial(_purged, row=row, kept=kept, now_ms=now_ms))

    async def send_statements(self) -> None:
        """Each statement goes down until the lower node has it."""
        catalog = self._pulls.catalog
        waiting = await catalog.aread(leases.purged_unacknowledged)
        for row in waiting:
            link = await catalog.aread(partial(links.get, link_id=row.link_id))
            statement = row.purge_statement
            if link is None or link.removed_ms is not None or statement is None or link.id in self.problems:
                continue
            try:
                await self._pulls.pool.of(link).purge_statement(statement["statement"], statement["signature"])
            except TiergateError as exc:
                _log.warning("a purge statement was not taken", extra={"lease": row.id, "code": exc.reason.code})
                continue
            values = {"purge_statement": {**statement, "acknowledged_ms": self._pulls.clock.now_ms()}}
            await catalog.awrite(partial(leases.change, lease_id=row.id, side="held", values=values))

    async def _retell(self) -> None:
        """Leases that ended here while the lower node was away."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        below = await catalog.aread(lambda c: links.all_of(c, "lower"))
        for link in below:
            rows = await catalog.aread(partial(leases.of_link, link_id=link.id, side="held", since_ms=now_ms))
            for row in rows:
                if row.ended_ms is not None and row.expires_ms > now_ms and row.id not in self._told:
                    if await self._pulls.tell_end(link, row.id, row.end_reason or "released"):
                        self._told.add(row.id)

    async def _alarm(self) -> None:
        """Our side as the lower node: an upper node that owes a purge statement for an hour stands in the audit log."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        for row in await catalog.aread(lambda c: leases.overdue_purges(c, now_ms - PURGE_GRACE_MS)):
            if row.id not in self._overdue:
                self._overdue.add(row.id)
                await catalog.awrite(partial(_overdue, row=row, now_ms=now_ms))


def _unconfirmed(connection: Connection, row: LeaseRow, now_ms: int) -> None:
    leases.change(connection, row.id, "held", {"cache_until_ms": now_ms})
    audit.append(connection, now_ms, "system:relay", "lease.unconfirmed", row.id, {"case": row.case_no})


def _purged(connection: Connection, row: LeaseRow, kept: dict[str, str], now_ms: int) -> None:
    leases.change(connection, row.id, "held", {"purged_ms": now_ms, "purge_statement": kept})
    audit.append(connection, now_ms, "system:relay", "lease.purge", row.id, {"statement": kept["statement"]})


def _overdue(connection: Connection, row: LeaseRow, now_ms: int) -> None:
    audit.append(
        connection, now_ms, "system:relay", "lease.cache_overdue", row.id, {"cache_until_ms": row.cache_until_ms}
    )
