"""The relay's loops: directories, heads of audit logs and monthly reports from below, purge at `cache_until`,
statements until acknowledged, endings retold.

`purge_due` runs before anything is served, so that a node that was down over a weekend starts clean (FAULTS C4). It
waits for no other node, and each lease for itself: what cannot be done for one is tried again and delays no other.
Calls to other nodes run link by link, side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from functools import partial

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.ids import is_ulid
from config.reasons import Reason
from config.units import HOUR_MS, month_before, month_of_ms, month_range_ms
from gateway.relay.agreement import Agreement
from gateway.relay.pulls import Pulls
from gateway.relay.set_back import SettingBack
from storage import use_view
from storage.audit import log as audit
from storage.catalog import cache as cache_rows
from storage.catalog import leases, links
from storage.catalog.leases import LeaseRow
from storage.catalog.links import LinkRow
from storage.objects.base import unavailable
from tiering import directory, pins
from tiering.lease import canonical_json
from tiering.lease_answer import NO_LEASE_BELOW
from tiering.server import PURGE_GRACE_MS, TierServer, head_from_json, keep_head
from tiering.signing import Signer
from tiering.steady import is_due
from tiering.wire import Directory, PurgeStatement

_log = logging.getLogger(__name__)
POLL_S = 5.0
PURGE_S = 2.0
IDLE_S = 1.0
HEADS_EVERY_MS, HEADS_LOOK_S = HOUR_MS, 60.0
REPORTS_S = 600.0
CLOCK_S = 5.0
CERTIFICATES_S, CERTIFICATES_EVERY_MS = 2.0, 60_000
SEEN_MS = 30_000  #: `last_seen_ms` is written this often, not at each poll
SWEEP_S, STORE_SWEEP_EVERY_MS = 60.0, HOUR_MS  #: keys are looked through each minute; a listing of the store costs more
ASIDE_EVERY_MS = 60_000  #: a node that names cameras which were not taken is asked for all of them again

RETELL_MS, RETELL_LONGEST_MS = 1000, 60_000
GIVE_BACK_AT_ONCE = 5  #: leases in one poll: whoever names more is in wrong hands, or had time to wait
NOT_HELD = "not_held"  #: why a lease ended that the upper node never heard of

#: With these a lower node says that it has closed the link, for now or for good: what we hold of it goes.
_CLOSED = {"tier.link_suspended": "suspended", "tier.peer_unknown": "link_removed"}


def retell_ms(tries: int) -> int:
    """How long an end that was told so often in vain is not told again."""
    return min(RETELL_MS << min(tries, 30), RETELL_LONGEST_MS)


class PerLink:
    """Work for each of several links, one task for each: a node that hangs delays its own alone, and is not asked a
    second time meanwhile."""

    def __init__(self, name: str, work: Callable[[LinkRow], Awaitable[None]]) -> None:
        self._name = name
        self._work = work
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, links_: Iterable[LinkRow]) -> list[asyncio.Task[None]]:
        return [self._tasks.get(link.id) or self._start(link) for link in links_]

    def _start(self, link: LinkRow) -> asyncio.Task[None]:
        task = self._tasks[link.id] = asyncio.create_task(self._guarded(link), name=f"{self._name}-{link.id}")
        task.add_done_callback(lambda _: self._tasks.pop(link.id, None))
        return task

    async def _guarded(self, link: LinkRow) -> None:
        try:
            await self._work(link)
        except Exception:
            _log.exception("work for a link of the relay failed", extra={"link": link.id})

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Keeping:
    def __init__(
        self, pulls: Pulls, server: TierServer, signer: Signer, agreement: Agreement, setting_back: SettingBack
    ) -> None:
        self._pulls = pulls
        self._agreement = agreement
        self._setting_back = setting_back
        self._server = server
        self._signer = signer
        self._digests: dict[str, str] = {}
        self._told: set[str] = set()
        self._untold: dict[str, tuple[int, int]] = {}  #: lease -> (how often its end was told in vain, when last)
        self._untaken: dict[str, tuple[int, int]] = {}  #: the same of purge statements
        self._given_back: dict[str, set[str]] = {}  #: link -> leases named by its node that are not held, and audited
        self._ended: set[str] = set()
        self._overdue: set[str] = set()
        self._heads_ms: dict[str, int] = {}  #: link -> when heads were last exchanged
        self._newer: set[str] = set()  #: links whose directory told of a certificate that we have not heard of
        self._said: dict[str, tuple[int, int]] = {}  #: link -> (when, the issue of ours) it was last called about it
        self._purging = asyncio.Lock()  #: one purge, one statement: the loop and whoever ends a lease may meet
        self._stuck: set[str] = set()  #: leases whose purge failed the last time
        self._swept_ms: int | None = None  #: when the store was last looked through for what no lease has
        self._asked_all_ms: dict[str, int] = {}  #: link -> when all its cameras were last asked for again
        self._polls = PerLink("directory", self._poll_one)
        self._tells = PerLink("endings", self._tell_one)
        self.problems: dict[str, Reason] = {}  #: link id -> why its node does not answer
        self.aside: dict[str, tuple[str, ...]] = {}  #: link id -> cameras that its node may not name

    @property
    def troubles(self) -> dict[str, Reason]:
        """Link id -> what is shown of it: why its node does not answer, or what of its directory was not taken."""
        aside = {
            link_id: Reason("tier.cameras_aside", {"count": len(cameras), "camera": cameras[0]})
            for link_id, cameras in self.aside.items()
        }
        return aside | self.problems

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(self._loop(POLL_S, self._begin_polls), name="directory-polls"),
            asyncio.create_task(self._loop(PURGE_S, self.purge_due), name="cache-purge"),
            asyncio.create_task(self._loop(SWEEP_S, self.sweep), name="cache-sweep"),
            asyncio.create_task(self._loop(PURGE_S, self._begin_tells), name="endings"),
            asyncio.create_task(self._loop(PURGE_S, self._alarm), name="overdue-statements"),
            asyncio.create_task(self._loop(IDLE_S, self._server.readings.close_idle), name="idle-looks"),
            asyncio.create_task(self._loop(HEADS_LOOK_S, self.exchange_heads), name="audit-heads"),
            asyncio.create_task(self._loop(CERTIFICATES_S, self.exchange_certificates), name="certificates"),
            asyncio.create_task(self._loop(CLOCK_S, self._setting_back.look), name="clock-set-back"),
            asyncio.create_task(self._loop(REPORTS_S, self.fetch_reports), name="reports-of-use"),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, self._polls.stop(), self._tells.stop(), return_exceptions=True)
            await self._server.readings.close()
            await self._server.quota.give_back()

    async def _loop(self, interval_s: float, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except Exception:
                _log.exception("a loop of the relay failed")
            await asyncio.sleep(interval_s)

    # -- directories -------------------------------------------------------------------------------------------------

    async def poll(self, link_id: str | None = None) -> None:
        """Asks every lower node, or that of one link, once; over when all have answered or are given up."""
        below = await self._below()
        await asyncio.gather(*self._polls.begin(link for link in below if link_id in (None, link.id)))

    async def _begin_polls(self) -> None:
        self._polls.begin(await self._below())

    async def _below(self) -> list[LinkRow]:
        return [link for link in await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower")) if link.usable]

    async def _poll_one(self, link: LinkRow) -> None:
        now_ms = self._pulls.clock.now_ms()
        if link.id in self.aside and is_due(self._asked_all_ms.get(link.id), now_ms, ASIDE_EVERY_MS):
            self._asked_all_ms[link.id] = now_ms
            self._digests.pop(link.id, None)  # a camera may have changed hands since: only a whole list says so
        sighting = self._agreement.sighting()
        try:
            found = await self._pulls.pool.of(link).directory(self._digests.get(link.id))
        except TiergateError as exc:
            if self.problems.get(link.id) != exc.reason:
                _log.warning("the lower node does not answer", extra={"link": link.id, "code": exc.reason.code})
            self.problems[link.id] = exc.reason
            if exc.reason.code in _CLOSED:
                await self._close(link, exc.reason)
            return
        self.problems.pop(link.id, None)
        await self._agreement.heard(sighting)
        await self._give_back(link, found.owed_leases)
        issued_ms = found.node.get("certificate_ms")
        if isinstance(issued_ms, int) and issued_ms > (link.tls_issued_ms or 0):
            self._newer.add(link.id)
        now_ms = self._pulls.clock.now_ms()
        fresh = not is_due(link.last_seen_ms, now_ms, SEEN_MS)
        ended = {str(entry["id"]) for entry in found.ended_leases}
        if fresh and found.cameras is None and ended <= self._ended:
            return  # nothing new: each commit wakes every process of the node
        before = self.aside.get(link.id, ())
        stored = await self._pulls.catalog.awrite(lambda c: _store(c, link, found, before, now_ms))
        self._ended |= ended
        self._digests[link.id] = found.digest
        if stored.aside:
            self.aside[link.id] = stored.aside
        elif stored.aside is not None:
            self.aside.pop(link.id, None)
        for lease_id in stored.over:
            self._pulls.ended(lease_id, Reason("tier.lease_ended"))

    async def _give_back(self, link: LinkRow, named: Sequence[str]) -> None:
        """Ends leases of the lower node that nobody here holds: it granted them, and its answer was lost. They could
        not be used, and count below.

        Nothing is to be remembered for it: a lease without a row is one that no request here waits for any more, and
        it is named as long as the lower node misses its end or the statement that nothing of it is kept.
        """
        if not named or self._pulls.is_asking(link.id):
            return
        unheld = await self._pulls.catalog.aread(lambda c: leases.unheld(c, named))
        known = self._given_back[link.id] = self._given_back.get(link.id, set()) & set(unheld)
        for lease_id in sorted(unheld, key=known.__contains__)[:GIVE_BACK_AT_ONCE]:
            if is_new := lease_id not in known:
                now_ms = self._pulls.clock.now_ms()
                await self._pulls.catalog.awrite(partial(_unheld, link=link, lease_id=lease_id, now_ms=now_ms))
                known.add(lease_id)
            try:
                await self._give_one_back(link, lease_id)
            except TiergateError as exc:
                if is_new:
                    _log.warning("a lease is not given back yet", extra={"lease": lease_id, "code": exc.reason.code})

    async def _give_one_back(self, link: LinkRow, lease_id: str) -> None:
        client, now_ms = self._pulls.pool.of(link), self._pulls.clock.now_ms()
        await client.end(lease_id, NOT_HELD)
        kept = self._signed(await asyncio.to_thread(self._pulls.cache.purge, lease_id, now_ms))
        await client.purge_statement(kept["statement"], kept["signature"])

    def _signed(self, statement: PurgeStatement) -> dict[str, str]:
        """Raises media.store_unavailable when something is left."""
        if statement.remaining or not statement.key_destroyed:
            raise unavailable("objects are left")
        text = canonical_json(statement.as_json())
        return {"statement": text, "signature": self._signer.sign(text.encode()).as_text()}

    async def _close(self, link: LinkRow, reason: Reason) -> None:
        """The lower node has closed the link: it cannot tell of single leases any more, and means all of them."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        held = await catalog.aread(lambda c: leases.open_of(c, link.id, "held", now_ms))
        if held:
            await catalog.awrite(lambda c: _closed(c, link, reason.code, now_ms))
        for row in held:
            self._pulls.ended(row.id, reason)

    # -- heads of audit logs -----------------------------------------------------------------------------------------

    async def exchange_heads(self) -> None:
        """With every lower node once an hour; it is the upper one that calls, as for everything."""
        below = await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower"))
        for link in below:
            now_ms, last_ms = self._pulls.clock.now_ms(), self._heads_ms.get(link.id)
            if link.usable and link.id not in self.problems and is_due(last_ms, now_ms, HEADS_EVERY_MS):
                try:
                    await self._exchange(link, now_ms)
                except TiergateError as exc:
                    _log.warning("no heads were exchanged", extra={"link": link.id, "code": exc.reason.code})
                else:
                    self._heads_ms[link.id] = now_ms

    async def _exchange(self, link: LinkRow, now_ms: int) -> None:
        catalog = self._pulls.catalog
        ours = await self._server.signed_head()
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
        last_ms, last_issued_ms = self._said.get(link.id, (None, -1))
        unknown = issued_ms > (link.tls_told_ms or 0) and last_issued_ms != issued_ms
        return link.id in self._newer or unknown or is_due(last_ms, now_ms, CERTIFICATES_EVERY_MS)

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

    async def purge_due(self) -> None:
        """Deletes what is due now. An emergency that nobody confirmed in time loses its cache while it still runs.

        All keys go first: a store that refuses, or takes its time, leaves nothing behind that can be read.
        """
        async with self._purging:
            catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
            late, due = await catalog.aread(lambda c: (_late(c, now_ms), leases.to_purge(c, now_ms)))
            for row in late:
                await self._each(row.id, partial(self._lose_cache, row, now_ms))
            for row in due:
                await self._each(row.id, partial(self._pulls.cache.destroy_key, row.id))
            for row in late:
                await self._each(row.id, partial(self._pulls.cache.purge, row.id, now_ms))
            for row in due:
                await self._each(row.id, partial(self._purge, row.id, now_ms))

    async def _each(self, lease_id: str, work: Callable[[], object]) -> None:
        """Does it in a thread. What fails for one lease is said, tried again, and in the way of no other."""
        try:
            await asyncio.to_thread(work)
        except Exception as exc:
            if lease_id not in self._stuck:
                code = exc.reason.code if isinstance(exc, TiergateError) else type(exc).__name__
                _log.error("the cache of a lease cannot be purged yet", extra={"lease": lease_id, "code": code})
            self._stuck.add(lease_id)

    def _lose_cache(self, row: LeaseRow, now_ms: int) -> None:
        with self._pulls.cache.alone(row.id):
            self._pulls.cache.destroy_key(row.id)
            if row.cache_until_ms > now_ms:
                self._pulls.catalog.write(partial(_unconfirmed, row=row, now_ms=now_ms))

    def _purge(self, lease_id: str, now_ms: int) -> None:
        """Raises media.store_unavailable when something is left. No block is written between the look and the row."""
        with self._pulls.cache.alone(lease_id):
            kept = self._signed(self._pulls.cache.purge(lease_id, now_ms))
            self._pulls.catalog.write(partial(_purged, lease_id=lease_id, kept=kept, now_ms=now_ms))
        self._stuck.discard(lease_id)

    async def sweep(self) -> None:
        """Purges again what a crash or a fault left of leases that are purged, or that nobody knows: keys at each call,
        objects each hour. The lower node gets a statement that is true now."""
        cache, now_ms = self._pulls.cache, self._pulls.clock.now_ms()
        await self._sweep(await asyncio.to_thread(cache.with_keys), now_ms)
        if is_due(self._swept_ms, now_ms, STORE_SWEEP_EVERY_MS):
            await self._sweep(await asyncio.to_thread(cache.with_objects), now_ms)
            self._swept_ms = now_ms

    async def _sweep(self, found: Iterable[str], now_ms: int) -> None:
        for lease_id in filter(is_ulid, found):
            async with self._purging:
                row = await self._pulls.catalog.aread(partial(leases.get, lease_id=lease_id, side="held"))
                if row is not None and row.purged_ms is None:
                    continue
                _log.error("the cache had something of a lease that is over", extra={"lease": lease_id})
                work = self._pulls.cache.purge if row is None else self._purge
                await self._each(lease_id, partial(work, lease_id, now_ms))

    async def tell(self) -> None:
        """Tells every lower node, once, what it must know of endings; over when all have answered or are given up."""
        below = await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower"))
        await asyncio.gather(*self._tells.begin(below))

    async def _begin_tells(self) -> None:
        self._tells.begin(await self._pulls.catalog.aread(lambda c: links.all_of(c, "lower")))

    async def _tell_one(self, link: LinkRow) -> None:
        """Each purge statement until the lower node has it, and leases that ended here while it was away. A suspended
        link carries both."""
        problem = self.problems.get(link.id)
        if problem is None or problem.code == "tier.link_suspended":
            await self._send_statements(link)
        await self._retell(link)

    async def _send_statements(self, link: LinkRow) -> None:
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        for row in await catalog.aread(leases.purged_unacknowledged):
            statement = row.purge_statement
            tries, last_ms = self._untaken.get(row.id, (0, None))
            if statement is None or row.link_id != link.id or not is_due(last_ms, now_ms, retell_ms(tries)):
                continue
            answer = None
            try:
                await self._pulls.pool.of(link).purge_statement(statement["statement"], statement["signature"])
            except TiergateError as exc:
                answer = exc.reason.code
                _log.warning("a purge statement was not taken", extra={"lease": row.id, "code": answer})
                if exc.kind is Kind.RATE_LIMITED:
                    return  # nor would the others be: the next round goes on
                if answer not in NO_LEASE_BELOW:
                    self._untaken[row.id] = tries + 1, now_ms
                    continue
            # Taken; or the node below was set up anew and knows of no such lease: it waits for no statement.
            kept = {**statement, "acknowledged_ms": now_ms} | ({} if answer is None else {"answer": answer})
            await catalog.awrite(partial(leases.change, lease_id=row.id, side="held", values={"purge_statement": kept}))
            self._untaken.pop(row.id, None)

    async def _retell(self, link: LinkRow) -> None:
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        rows = await catalog.aread(partial(leases.of_link, link_id=link.id, side="held", since_ms=now_ms))
        for row in rows:
            if row.ended_ms is None or row.expires_ms <= now_ms or row.id in self._told:
                continue
            tries, last_ms = self._untold.get(row.id, (0, None))
            if not is_due(last_ms, now_ms, retell_ms(tries)):
                continue
            if await self._pulls.tell_end(link, row.id, row.end_reason or "released"):
                self._told.add(row.id)
                self._untold.pop(row.id, None)
            else:
                self._untold[row.id] = tries + 1, now_ms

    async def _alarm(self) -> None:
        """Our side as the lower node: an upper node that owes a purge statement for an hour stands in the audit log."""
        catalog, now_ms = self._pulls.catalog, self._pulls.clock.now_ms()
        for row in await catalog.aread(lambda c: leases.overdue_purges(c, now_ms - PURGE_GRACE_MS)):
            if row.id not in self._overdue:
                self._overdue.add(row.id)
                await catalog.awrite(partial(_overdue, row=row, now_ms=now_ms))


def _store(
    connection: Connection, link: LinkRow, found: Directory, before: tuple[str, ...], now_ms: int
) -> directory.Stored:
    stored = directory.store(connection, link, found, now_ms)
    if stored.aside is not None and stored.aside != before:
        details = {"count": len(stored.aside), "cameras": list(stored.aside[:20])}
        audit.append(connection, now_ms, f"node:{link.peer_node}", "link.cameras_aside", link.id, details)
    return stored


def _unheld(connection: Connection, link: LinkRow, lease_id: str, now_ms: int) -> None:
    audit.append(connection, now_ms, "system:relay", "lease.end", lease_id, {"reason": NOT_HELD, "link": link.id})


def _closed(connection: Connection, link: LinkRow, code: str, now_ms: int) -> None:
    ended = leases.end_all(connection, link.id, "held", now_ms, _CLOSED[code])
    details = {"code": code, "leases": [row.id for row in ended]}
    audit.append(connection, now_ms, f"node:{link.peer_node}", "link.closed_below", link.id, details)


def _late(connection: Connection, now_ms: int) -> list[LeaseRow]:
    """Unconfirmed leases whose cache is to go, or is not gone yet."""
    rows = leases.unconfirmed_late(connection, now_ms)
    return [row for row in rows if row.cache_until_ms > now_ms or cache_rows.keeps(connection, row.id)]


def _unconfirmed(connection: Connection, row: LeaseRow, now_ms: int) -> None:
    current = leases.get(connection, row.id, "held")
    if current is None or current.confirmed_ms is not None:
        return  # somebody did, meanwhile
    leases.change(connection, row.id, "held", {"cache_until_ms": now_ms})
    audit.append(connection, now_ms, "system:relay", "lease.unconfirmed", row.id, {"case": row.case_no})


def _purged(connection: Connection, lease_id: str, kept: dict[str, str], now_ms: int) -> None:
    leases.change(connection, lease_id, "held", {"purged_ms": now_ms, "purge_statement": kept})
    audit.append(connection, now_ms, "system:relay", "lease.purge", lease_id, {"statement": kept["statement"]})


def _overdue(connection: Connection, row: LeaseRow, now_ms: int) -> None:
    audit.append(
        connection, now_ms, "system:relay", "lease.cache_overdue", row.id, {"cache_until_ms": row.cache_until_ms}
    )
