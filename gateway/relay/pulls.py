"""Pulls: the upper node's side of leases. Request, renew, confirm, give back, lower timelines, bytes through the cache.

The rows of held leases say what is allowed on this side; the lower node decides again for itself each time. Does not
belong here: who of our people may pull (`gateway.web.routers.pulls`), the loops that purge (`gateway.relay.keeping`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.reasons import Reason
from gateway.relay.peers import PeerPool
from storage.audit import log as audit
from storage.catalog import leases, links, peers
from storage.catalog.engine import Catalog
from storage.catalog.leases import LeaseRow
from storage.catalog.links import LinkRow
from tiering import exchange
from tiering.cache import BLOCK_BYTES, Cache, may_keep
from tiering.cache_policy import CacheAct, decide_cache
from tiering.lease import (
    LeaseRequest,
    Permit,
    Person,
    from_document,
    permit,
    verify_document,
)
from tiering.lease_answer import NO_LEASE_BELOW, unlike_renewal, unlike_request
from tiering.mechanism import MINUTE_MS, Mechanism
from tiering.server import events_of, mechanism_of, renewed_values, row_of, terms_of
from tiering.signing import SKEW_MS, Signer
from tiering.steady import SteadyClock
from tiering.wire import FootageIndex, joined

INDEX_PAGES_MAX = 21  #: of one range: 10 500 segments


@dataclass(frozen=True, slots=True)
class PullOrder:
    """What a person of ours wants, before it is cut into one request per lower node."""

    mechanism: str
    case_no: str
    reason: str
    requester: Person
    persons: tuple[Person, ...]
    cameras: tuple[str, ...]
    minutes: int
    actor: str  #: for the audit log
    functions: tuple[str, ...] | None = None  #: None: all of the mechanism's
    max_stream: str = "main"
    approver: Person | None = None
    from_ms: int | None = None
    to_ms: int | None = None
    cache_minutes: int | None = None


@dataclass(frozen=True, slots=True)
class PullOutcome:
    leases: tuple[LeaseRow, ...]
    narrowed: tuple[dict[str, Any], ...]
    refused: tuple[dict[str, Any], ...]  #: {"link_id", "cameras", "reason"} of nodes that said no


class Pulls:
    def __init__(
        self, catalog: Catalog, clock: SteadyClock, signer: Signer, pool: PeerPool, cache: Cache, quota_bytes: int
    ) -> None:
        self.catalog = catalog
        self.clock = clock
        self.pool = pool
        self.cache = cache
        self._signer = signer
        self._quota_bytes = quota_bytes
        self._asking: Counter[str] = Counter()  #: link -> requests for a lease that have no row yet
        self._fetching: dict[tuple[str, str, int], asyncio.Task[bytes]] = {}
        self.ended: Callable[[str, Reason], None] = lambda lease, reason: None  #: the upstreams' ear

    # -- opening and closing -----------------------------------------------------------------------------------------

    async def open(self, order: PullOrder) -> PullOutcome:
        """One lease per lower node. Raises the first refusal when every node refused."""
        by_link = await self.catalog.aread(lambda c: _by_link(c, order.cameras))
        granted: list[LeaseRow] = []
        narrowed: list[dict[str, Any]] = []
        refusals: list[dict[str, Any]] = []
        first: TiergateError | None = None
        for link, cameras in by_link:
            try:
                row, less = await self._open_one(order, link, cameras)
            except TiergateError as exc:
                first = first or exc
                refusals.append({"link_id": link.id, "cameras": cameras, "reason": exc.reason.as_json()})
                continue
            granted.append(row)
            narrowed += less
        if first is not None and not granted:
            raise first
        return PullOutcome(tuple(granted), tuple(narrowed), tuple(refusals))

    async def _open_one(
        self, order: PullOrder, link: LinkRow, cameras: list[str]
    ) -> tuple[LeaseRow, list[dict[str, Any]]]:
        if not link.usable:
            raise TiergateError(Kind.FORBIDDEN, "tier.link_suspended")
        rules = await self.catalog.aread(lambda c: links.exchange_of(c, link.id))
        if not exchange.may_enter(rules, exchange.ORDINARY, exchange.VIDEO):
            raise TiergateError(Kind.FORBIDDEN, "tier.exchange_none", peer=link.peer_name)
        mechanism = await self.catalog.aread(lambda c: mechanism_of(c, order.mechanism))
        if mechanism is None:
            known = await self.catalog.aread(links.mechanism_names)
            raise TiergateError(Kind.INVALID, "tier.mechanism_none", name=order.mechanism[:40], known=", ".join(known))
        now_ms = self.clock.now_ms()
        if "playback" in mechanism.functions and order.from_ms is None:
            # "live and the last two hours": an operator who pulls wants to scrub back without a second lease
            order = replace(order, from_ms=now_ms - mechanism.look_back_ms, to_ms=now_ms + order.minutes * MINUTE_MS)
        request = LeaseRequest(
            order.mechanism, mechanism.version, order.case_no, order.reason, order.requester, order.persons,
            tuple(cameras), order.functions or mechanism.functions, order.minutes,
            _lesser(order.max_stream, mechanism.max_stream), order.approver, order.from_ms, order.to_ms,
            order.cache_minutes,
        )  # fmt: skip
        self._asking[link.id] += 1
        try:
            return await self._ask(order.actor, link, request, mechanism, now_ms)
        finally:
            self._asking[link.id] -= 1

    async def _ask(
        self, actor: str, link: LinkRow, request: LeaseRequest, mechanism: Mechanism, now_ms: int
    ) -> tuple[LeaseRow, list[dict[str, Any]]]:
        document, signature, narrowed = await self.pool.of(link).request_lease(request)
        terms = verify_document(document, signature, link.public_key)
        unlike = unlike_request(
            terms, request, mechanism,
            lower_node=link.peer_node, upper_node=self._signer.node_id, now_ms=now_ms, slack_ms=2 * SKEW_MS,
        )  # fmt: skip
        _refuse(unlike)
        row = row_of(terms, "held", link.id, document, signature)

        def change(connection: Connection) -> None:
            leases.add(connection, row)
            audit.append(connection, now_ms, actor, "lease.hold", row.id, {"document": document})

        await self.catalog.awrite(change)
        return row, narrowed

    def is_asking(self, link_id: str) -> bool:
        """Whether a lease may be on its way up over the link, or wait for its row."""
        return self._asking[link_id] > 0

    async def row(self, lease_id: str) -> LeaseRow:
        found = await self.catalog.aread(lambda c: leases.get(c, lease_id, "held"))
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.lease_unknown")
        return found

    async def confirm(self, lease_id: str, who: Person, actor: str) -> LeaseRow:
        row = await self.row(lease_id)
        link = await self.pool.usable(row.link_id)
        answer = await self.pool.of(link).confirm(lease_id, who)
        confirmed_ms = int(answer["confirmed_ms"])

        def change(connection: Connection) -> None:
            values: dict[str, object] = {"confirmed_ms": confirmed_ms, "confirmed_by": who.name}
            current = leases.get(connection, lease_id, "held")
            if current is not None and current.ended_ms is None:
                # What it lost while nobody had confirmed, it has again.
                values["cache_until_ms"] = from_document(current.document).cache_until_ms
            leases.change(connection, lease_id, "held", values)
            audit.append(
                connection,
                self.clock.now_ms(),
                actor,
                "lease.confirm",
                lease_id,
                {"person": who.name, "unit": who.unit},
            )

        await self.catalog.awrite(change)
        return await self.row(lease_id)

    async def renew(self, lease_id: str, reason: str, minutes: int, actor: str) -> LeaseRow:
        row = await self.row(lease_id)
        link = await self.pool.usable(row.link_id)
        document, signature, _ = await self.pool.of(link).renew(lease_id, reason, minutes)
        terms, old = verify_document(document, signature, link.public_key), from_document(row.document)
        now_ms = self.clock.now_ms()
        _refuse(unlike_renewal(terms, old, reason, minutes, now_ms=now_ms, slack_ms=2 * SKEW_MS))

        def change(connection: Connection) -> None:
            current = leases.get(connection, lease_id, "held")
            if current is None or current.ended_ms is not None:  # it ended while the answer was on its way
                raise TiergateError(Kind.FORBIDDEN, "tier.lease_ended")
            leases.change(connection, lease_id, "held", renewed_values(terms, document, signature))
            audit.append(connection, now_ms, actor, "lease.renew", lease_id, {"document": document})

        await self.catalog.awrite(change)
        return await self.row(lease_id)

    async def end(self, lease_id: str, why: str, actor: str) -> LeaseRow:
        """Ends it here at once, its cache with it, and tells the lower node (later, when that is away now)."""
        row = await self.row(lease_id)
        now_ms = self.clock.now_ms()

        def change(connection: Connection) -> None:
            if leases.end(connection, lease_id, "held", now_ms, why, now_ms):
                audit.append(connection, now_ms, actor, "lease.end", lease_id, {"reason": why})

        await self.catalog.awrite(change)
        self.ended(lease_id, Reason("tier.lease_ended"))
        link = await self.catalog.aread(lambda c: links.get(c, row.link_id))
        if link is not None and link.removed_ms is None:
            await self.tell_end(link, lease_id, why)
        return await self.row(lease_id)

    async def tell_end(self, link: LinkRow, lease_id: str, why: str) -> bool:
        """Whether the lower node need not be told again."""
        try:
            await self.pool.of(link).end(lease_id, why)
        except TiergateError as exc:
            return exc.reason.code in NO_LEASE_BELOW
        return True

    # -- what is allowed on our side ---------------------------------------------------------------------------------

    async def permit(
        self,
        lease_id: str,
        camera: str,
        function: str,
        stream: str,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> tuple[Permit, LeaseRow, LinkRow | None]:
        row = await self.row(lease_id)
        link = await self.catalog.aread(lambda c: links.get(c, row.link_id))
        answer = permit(
            terms_of(row), events_of(row, link), self.clock.now_ms(),
            camera=camera, function=function, stream=stream, from_ms=from_ms, to_ms=to_ms,
        )  # fmt: skip
        return answer, row, link

    async def live_check(self, lease_id: str, camera: str, stream: str) -> Reason | None:
        """Why a live stream must not run (any more)."""
        answer, _, _ = await self.permit(lease_id, camera, "live", stream)
        return None if answer.stream is not None else answer.reason or Reason("tier.lease_ended")

    # -- recorded footage --------------------------------------------------------------------------------------------

    async def index(self, lease_id: str, camera: str, stream: str, from_ms: int, to_ms: int) -> FootageIndex:
        """The lower node's index of a range, all its pages together."""
        link = await self._playback(lease_id, camera, stream, from_ms, to_ms)
        client = self.pool.of(link)
        pages = [await client.index(lease_id, camera, stream, from_ms, to_ms)]
        while len(pages) < INDEX_PAGES_MAX:
            next_ms = pages[-1].next_ms
            if next_ms is None or next_ms >= to_ms:
                break
            pages.append(await client.index(lease_id, camera, stream, next_ms, to_ms))
        return joined(pages)

    async def _playback(
        self, lease_id: str, camera: str, stream: str, from_ms: int | None, to_ms: int | None
    ) -> LinkRow:
        if from_ms is None or to_ms is None:
            row = terms_of(await self.row(lease_id))
            from_ms, to_ms = row.from_ms, row.to_ms
        answer, _, link = await self.permit(lease_id, camera, "playback", stream, from_ms, to_ms)
        if answer.stream is None or link is None:
            reason = answer.reason or Reason("tier.lease_unknown")
            raise TiergateError(Kind.FORBIDDEN, reason.code, **reason.params)
        return link

    async def read(self, lease_id: str, segment: str, camera: str, stream: str, offset: int, length: int) -> bytes:
        """Bytes of a lower node's segment; blocks come over the line once and stay cached while they may."""
        link = await self._playback(lease_id, camera, stream, None, None)
        out = bytearray()
        for block in range(offset // BLOCK_BYTES, (offset + length - 1) // BLOCK_BYTES + 1):
            data = await self._block(link, lease_id, segment, camera, block)
            start = block * BLOCK_BYTES
            out += data[max(0, offset - start) : max(0, offset + length - start)]
            if len(data) < BLOCK_BYTES:
                break  # the segment ends here
        return bytes(out)

    async def _block(self, link: LinkRow, lease_id: str, segment: str, camera: str, block: int) -> bytes:
        kept = await asyncio.to_thread(self.cache.read_block, lease_id, segment, block)
        if kept is not None:
            return kept
        key = (lease_id, segment, block)
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._fetch(link, lease_id, segment, camera, block))
            task.add_done_callback(lambda _: self._fetching.pop(key, None))
        return await asyncio.shield(task)

    async def _fetch(self, link: LinkRow, lease_id: str, segment: str, camera: str, block: int) -> bytes:
        data = await self.pool.of(link).segment(lease_id, segment, block * BLOCK_BYTES, BLOCK_BYTES)
        row = await self.row(lease_id)  # again: it may have ended while the bytes were on their way
        now_ms = self.clock.now_ms()
        used = await asyncio.to_thread(self.cache.used_bytes)
        act = decide_cache(
            now_ms=now_ms, until_ms=row.cache_until_ms, allowed=may_keep(row, now_ms),
            used_bytes=used, quota_bytes=self._quota_bytes, size_bytes=len(data),
        )  # fmt: skip
        if act is CacheAct.PURGE:
            raise TiergateError(Kind.FORBIDDEN, "tier.lease_expired")
        if act is CacheAct.STORE:
            await asyncio.to_thread(self.cache.write_block, lease_id, camera, segment, block, data, self.clock.now_ms)
        return data


def _refuse(unlike: tuple[str, ...]) -> None:
    """Raises tier.lease_differs when the document of a lower node is unlike what was asked in some field."""
    if unlike:
        raise TiergateError(Kind.UNAVAILABLE, "tier.lease_differs", fields=", ".join(unlike))


def _lesser(one: str, other: str) -> str:
    return "main" if one == other == "main" else "sub"


def _by_link(connection: Connection, cameras: tuple[str, ...]) -> list[tuple[LinkRow, list[str]]]:
    """Which of our lower nodes has which of the cameras. Raises tier.no_lower_camera, tier.camera_ambiguous."""
    having: dict[str, list[str]] = {}
    for row in peers.listed(connection, cameras):
        having.setdefault(row.camera_id, []).append(row.link_id)
    grouped: dict[str, list[str]] = {}
    for camera in dict.fromkeys(cameras):
        if camera not in having:
            raise TiergateError(Kind.NOT_FOUND, "tier.no_lower_camera", camera=camera)
        if len(having[camera]) > 1:
            raise TiergateError(Kind.CONFLICT, "tier.camera_ambiguous", camera=camera)
        grouped.setdefault(having[camera][0], []).append(camera)
    found = []
    for link_id, ids in grouped.items():
        link = links.get(connection, link_id)
        if link is not None:
            found.append((link, ids))
    if not found:
        raise TiergateError(Kind.INVALID, "tier.cameras_count", limit=50)
    return found
