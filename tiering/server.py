"""The lower node's side of a link, without HTTP: pairing, directory, leases, index, recorded bytes, purge statements.

Every method but `accept_link` is called with the authenticated link. Belongs here: what is done with a request. Does
not belong here: live streams (`tiering.live_server`), status codes and headers (`gateway.relay.tier_app`), rules
(`tiering.lease`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from config.clock import Clock
from config.crypto import DEFAULT_SUITE, key_id
from config.errors import Kind, TiergateError
from config.ids import ulid
from config.reasons import Reason
from config.units import DAY_MS, month_range_ms
from storage import use_view
from storage.audit import heads
from storage.audit import log as audit
from storage.audit.log import Checkpoint
from storage.audit.signed import HeadSigner
from storage.catalog import gaps, leases, links, peers, segments
from storage.catalog.engine import Catalog
from storage.catalog.leases import LeaseRow
from storage.catalog.links import InviteRow, LinkRow
from storage.catalog.segments import SegmentRow
from tiering import exchange, pins, wire
from tiering.certificates import Said
from tiering.directory import DirectorySource
from tiering.lease import (
    CameraFacts,
    LeaseEvents,
    LeaseTerms,
    Peers,
    Permit,
    Person,
    decide_request,
    from_document,
    permit,
    refuse_confirmation,
    renew,
    to_document,
    verify_document,
)
from tiering.lines import Lines
from tiering.mechanism import SHIPPED, Mechanism
from tiering.nonces import NonceJournal
from tiering.ports import FootageReader, Register
from tiering.quota import Quota
from tiering.readings import Readings
from tiering.signing import Signer, check_request, read_claim
from tiering.steady import SteadyClock, is_due
from tiering.topology import refuse_link

PURGE_GRACE_MS = 3_600_000  #: a purge statement that is later than this is an alarm (REQUIREMENTS §3.6.7)

Entropy = Callable[[int], bytes]


def refused(reason: Reason | None, kind: Kind = Kind.FORBIDDEN) -> TiergateError:
    if reason is None:
        return TiergateError(kind, "tier.lease_unknown")
    return TiergateError(kind, reason.code, **reason.params)


def terms_of(row: LeaseRow) -> LeaseTerms:
    """What was signed; the row's cache end may have moved towards now since."""
    terms = from_document(row.document)
    return replace(terms, cache_until_ms=min(terms.cache_until_ms, row.cache_until_ms))


def events_of(row: LeaseRow, link: LinkRow | None) -> LeaseEvents:
    return LeaseEvents(row.confirmed_ms, row.ended_ms, link is None or not link.usable)


def row_of(terms: LeaseTerms, side: str, link_id: str, document: str, signature: str) -> LeaseRow:
    """A new lease's row on either side."""
    persons = [{"name": p.name, "unit": p.unit} for p in dict.fromkeys((terms.requester, *terms.persons))]
    return LeaseRow(
        id=terms.id, side=side, link_id=link_id, mechanism=terms.mechanism, mechanism_version=terms.mechanism_version,
        kind=terms.kind, case_no=terms.case_no, reason=terms.reason, persons=persons, cameras=list(terms.cameras),
        functions=list(terms.functions), max_stream=terms.max_stream, from_ms=terms.from_ms, to_ms=terms.to_ms,
        issued_ms=terms.issued_ms, expires_ms=terms.expires_ms, cache_until_ms=terms.cache_until_ms,
        confirm_by_ms=terms.confirm_by_ms, confirmed_ms=None, confirmed_by=None, ended_ms=None, end_reason=None,
        document=document, signature=signature,
    )  # fmt: skip


def mechanism_of(connection: Connection, name: str, version: int | None = None) -> Mechanism | None:
    rules = links.mechanism_rules(connection, name, version)
    return Mechanism.from_json(rules) if rules is not None else None


def ship_mechanisms(connection: Connection, now_ms: int) -> None:
    """The shipped mechanisms as rows; called when a node is linked."""
    for shipped in SHIPPED:
        links.put_mechanism(connection, shipped.name, shipped.version, shipped.kind, shipped.as_json(), now_ms)


class TierServer:
    def __init__(
        self,
        card: wire.Card,
        signer: Signer,
        catalog: Catalog,
        clock: Clock,
        register: Register,
        footage: FootageReader,
        lines: Lines,
        nonces: NonceJournal,
        entropy: Entropy,
        head_signer: HeadSigner,
    ) -> None:
        self.card = card
        self.signer = signer
        self.catalog = catalog
        self.steady = SteadyClock(clock)
        self.register = register
        self.lines = lines
        self.quota = Quota(catalog, self.steady.now_ms)
        self._footage = footage
        self._nonces = nonces
        self._entropy = entropy
        self._heads = head_signer
        self._signing = asyncio.Lock()
        self._directory = DirectorySource(catalog, card)
        self.readings = Readings(register)
        self._seen_ms: dict[str, int] = {}

    # -- who asks --------------------------------------------------------------------------------------------------

    async def authenticate(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> LinkRow:
        """The link of the node that signed. Raises tier.unsigned, peer_unknown, signature_bad, clock_skew, replayed."""
        claim = read_claim(headers)
        link = await self.catalog.aread(lambda c: links.of_peer(c, claim.node))
        if link is None:
            raise TiergateError(Kind.UNAUTHENTICATED, "tier.peer_unknown")
        now_ms = self.steady.wall_ms()
        check_request(claim, link.public_key, self.signer.node_id, method, target, body, now_ms)
        self._nonces.take(claim.node, claim.nonce, claim.time_ms, now_ms)
        if is_due(self._seen_ms.get(link.id), now_ms, 30_000):
            self._seen_ms[link.id] = now_ms
            await self.catalog.awrite(lambda c: links.seen(c, link.id, now_ms))
        return link

    # -- pairing ---------------------------------------------------------------------------------------------------

    async def accept_link(self, target: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """The other node redeems our invitation: its card, signed by the key on it. Our card goes back."""
        claim = read_claim(headers)
        value = wire.parse(body)
        card = wire.Card.from_json(value.get("card"))
        secret = wire.bytes_field(value, "secret", 20)
        now_ms = self.steady.wall_ms()
        check_request(claim, card.public_key, self.signer.node_id, "POST", target, body, now_ms)
        if card.node != key_id(card.public_key):
            raise TiergateError(Kind.INVALID, "tier.card_key")
        code_hash = DEFAULT_SUITE.digest(secret)

        def invited(connection: Connection) -> InviteRow:
            invite = links.get_invite(connection, code_hash)
            if invite is None or not hmac.compare_digest(invite.code_hash, code_hash) or now_ms >= invite.expires_ms:
                raise TiergateError(Kind.FORBIDDEN, "tier.invite_over")
            return invite

        # Everybody has a key: nothing of who was not invited is remembered, and nobody waits for him to be written.
        await self.catalog.aread(invited)
        self._nonces.take(claim.node, claim.nonce, claim.time_ms, now_ms)

        def change(connection: Connection) -> None:
            invite = invited(connection)
            unfit = refuse_link(self.card.tier, card.tier, invite.peer_role)
            if unfit is not None:
                raise refused(unfit, Kind.CONFLICT)
            if not links.use_invite(connection, code_hash, now_ms):
                raise TiergateError(Kind.FORBIDDEN, "tier.invite_over")
            add_link(connection, card, invite.peer_role, now_ms, self._ulid(now_ms), f"node:{card.node}")

        await self.catalog.awrite(change)
        return {"card": self.card.as_json()}

    def _ulid(self, now_ms: int) -> str:
        return ulid(now_ms, self._entropy(10))

    # -- directory -------------------------------------------------------------------------------------------------

    async def directory(self, link: LinkRow, known_digest: str | None) -> dict[str, Any]:
        self._upper(link)
        if not link.usable:
            raise TiergateError(Kind.FORBIDDEN, "tier.link_suspended")
        document = await self._directory.document(link, known_digest, self.steady.now_ms())
        return document.as_json()

    async def use_report(self, link: LinkRow, month: str) -> dict[str, Any]:
        """What the people of the upper node saw of our cameras in a month that is over. Raises tier.report_unknown."""
        self._upper(link)
        if not link.usable:
            raise TiergateError(Kind.FORBIDDEN, "tier.link_suspended")
        month_range_ms(month)
        found = await self.catalog.aread(lambda c: use_view.above(c, month, link.id))
        if found is None:
            raise TiergateError(Kind.NOT_FOUND, "tier.report_unknown", month=month)
        return found

    def _upper(self, link: LinkRow) -> None:
        """Only a node above us asks for cameras and leases."""
        if link.peer_role != "upper":
            raise refused(Reason("tier.pull_direction", {"upper": link.peer_tier, "lower": self.card.tier}))

    # -- leases ----------------------------------------------------------------------------------------------------

    async def request_lease(self, link: LinkRow, value: Mapping[str, Any]) -> dict[str, Any]:
        self._upper(link)
        request = wire.lease_request_from_json(value)
        now_ms = self.steady.now_ms()
        lease_id = self._ulid(now_ms)

        def change(connection: Connection) -> dict[str, Any]:
            mechanism = mechanism_of(connection, request.mechanism)
            known = {
                c.id: CameraFacts(c.secrecy, c.sharing, c.enabled)
                for c in peers.own_cameras(connection, request.cameras)
            }
            ends = Peers(
                self.signer.node_id, self.card.tier, link.peer_node, link.peer_tier, not link.usable,
                links.exchange_of(connection, link.id), leases.camera_ms_since(connection, link.id, now_ms - DAY_MS),
            )  # fmt: skip
            decision = decide_request(request, mechanism, ends, known, lease_id, now_ms)
            actor = f"node:{link.peer_node}"
            if decision.terms is None:
                reason = decision.reason
                details = {
                    "code": reason.code if reason else "",
                    "case": request.case_no,
                    "cameras": list(request.cameras),
                }
                audit.append(connection, now_ms, actor, "lease.refuse", request.mechanism, details)
                return {"refused": reason}
            document = to_document(decision.terms)
            signature = self.signer.sign(document.encode()).as_text()
            leases.add(connection, row_of(decision.terms, "granted", link.id, document, signature))
            audit.append(connection, now_ms, actor, "lease.grant", lease_id, {"document": document})
            return {"document": document, "signature": signature, "narrowed": [r.as_json() for r in decision.narrowed]}

        answer = await self.catalog.awrite(change)
        if "refused" in answer:
            raise refused(answer["refused"])
        return answer

    async def row(self, link: LinkRow, lease_id: str) -> tuple[LeaseRow, LeaseTerms]:
        """A lease that we granted over this link, its signature checked again: a row that was edited is no lease."""
        found = await self.catalog.aread(lambda c: leases.get(c, lease_id, "granted"))
        if found is None or found.link_id != link.id:
            raise TiergateError(Kind.NOT_FOUND, "tier.lease_unknown")
        verify_document(found.document, found.signature, self.signer.public_key)
        return found, terms_of(found)

    async def permit(
        self,
        link: LinkRow,
        lease_id: str,
        camera: str,
        function: str,
        stream: str,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> tuple[Permit, LinkRow, LeaseTerms]:
        """What is allowed now, by the rows as they are now, of which the link's is given too."""
        fresh = await self.catalog.aread(lambda c: links.get(c, link.id))
        row, terms = await self.row(link, lease_id)
        answer = permit(
            terms, events_of(row, fresh), self.steady.now_ms(),
            camera=camera, function=function, stream=stream, from_ms=from_ms, to_ms=to_ms,
        )  # fmt: skip
        return answer, fresh or link, terms

    async def confirm(self, link: LinkRow, lease_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
        who = wire.person_field(value, "person")
        row, terms = await self.row(link, lease_id)
        now_ms = self.steady.now_ms()

        def change(connection: Connection) -> int:
            mechanism = mechanism_of(connection, terms.mechanism, terms.mechanism_version)
            if mechanism is None:
                raise TiergateError(Kind.CONFLICT, "tier.mechanism_unknown", name=terms.mechanism)
            current = leases.get(connection, row.id, "granted") or row
            if current.confirmed_ms is not None:
                return current.confirmed_ms
            unfit = refuse_confirmation(terms, mechanism, events_of(current, link), who, now_ms)
            if unfit is not None:
                raise refused(unfit, Kind.CONFLICT)
            leases.change(connection, row.id, "granted", {"confirmed_ms": now_ms, "confirmed_by": who.name})
            details = {"person": who.name, "unit": who.unit, "late": now_ms >= (terms.confirm_by_ms or 0)}
            audit.append(connection, now_ms, f"node:{link.peer_node}", "lease.confirm", row.id, details)
            return now_ms

        return {"confirmed_ms": await self.catalog.awrite(change)}

    async def renew(self, link: LinkRow, lease_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
        reason, minutes = wire.text_field(value, "reason"), wire.int_field(value, "minutes", 0, wire.MINUTES_MAX)
        row, terms = await self.row(link, lease_id)
        now_ms = self.steady.now_ms()

        def change(connection: Connection) -> dict[str, Any]:
            mechanism = mechanism_of(connection, terms.mechanism, terms.mechanism_version)
            current = leases.get(connection, row.id, "granted") or row
            if mechanism is None:
                raise TiergateError(Kind.CONFLICT, "tier.mechanism_unknown", name=terms.mechanism)
            today_ms = leases.camera_ms_since(connection, link.id, now_ms - DAY_MS)
            decision = renew(terms_of(current), mechanism, events_of(current, link), reason, minutes, now_ms, today_ms)
            if decision.terms is None:
                raise refused(decision.reason)
            document = to_document(decision.terms)
            signature = self.signer.sign(document.encode()).as_text()
            values = renewed_values(decision.terms, document, signature)
            leases.change(connection, row.id, "granted", values)
            audit.append(connection, now_ms, f"node:{link.peer_node}", "lease.renew", row.id, {"document": document})
            return {"document": document, "signature": signature, "narrowed": []}

        return await self.catalog.awrite(change)

    async def end(self, link: LinkRow, lease_id: str, value: Mapping[str, Any]) -> dict[str, Any]:
        """The upper node gives the lease back."""
        why = wire.text_field(value, "reason", 40)
        row, _ = await self.row(link, lease_id)
        now_ms = self.steady.now_ms()

        def change(connection: Connection) -> None:
            if leases.end(connection, row.id, "granted", now_ms, why or "released", now_ms):
                audit.append(connection, now_ms, f"node:{link.peer_node}", "lease.end", row.id, {"reason": why})

        await self.catalog.awrite(change)
        return {"ended_ms": row.ended_ms or now_ms}

    # -- recorded footage ------------------------------------------------------------------------------------------

    async def index(
        self, link: LinkRow, lease_id: str, camera: str, stream: str, from_ms: int, to_ms: int
    ) -> dict[str, Any]:
        """What there is of a range, cut to the lease's. An index shows no picture: it needs no register row."""
        if from_ms >= to_ms:
            raise TiergateError(Kind.INVALID, "time.range_empty")
        answer, _, terms = await self.permit(link, lease_id, camera, "playback", stream, from_ms, to_ms)
        if answer.stream is None:
            raise refused(answer.reason)
        low, high = max(from_ms, terms.from_ms or 0), min(to_ms, terms.to_ms or 0)
        now_ms = self.steady.now_ms()
        found = await self.catalog.aread(lambda c: read_index(c, camera, answer.stream or stream, low, high, now_ms))
        return found.as_json()

    async def segment(self, link: LinkRow, lease_id: str, segment_id: str, offset: int, length: int) -> bytes:
        """A range of a segment that touches the lease's, paced to what the line has left. Cancelled, it waits no more.

        What may be seen is decided before the range takes its place on the line, so that nobody waits in vain, and
        again when its turn has come. Raises tier.day_full, tier.line_busy.
        """
        if not 0 < length <= wire.RANGE_MAX_BYTES or offset < 0:
            raise TiergateError(Kind.INVALID, "tier.range_malformed", limit_bytes=wire.RANGE_MAX_BYTES)
        row = await self.catalog.aread(lambda c: segments.segment_of(c, segment_id))
        if row is None or row.kind != "own" or row.state not in segments.READABLE or offset >= row.bytes:
            raise TiergateError(Kind.NOT_FOUND, "tier.segment_unknown")
        length = min(length, row.bytes - offset)
        terms = await self._permit_segment(link, lease_id, row)
        await self.quota.take(link, 0)
        if await self.lines.pace(link, length):
            terms = await self._permit_segment(link, lease_id, row)
        async with self.readings.look(link, terms, row.camera_id, row.stream) as look:
            await self.quota.take(link, length)
            data = await self._footage.read(row, offset, length)
            if look.ended.is_set():
                if look.reason is not None:
                    raise refused(look.reason)
                raise TiergateError(Kind.UNAVAILABLE, "tier.stream_ended")  # closed with the process
            look.add_bytes(len(data))
            return data

    async def _permit_segment(self, link: LinkRow, lease_id: str, row: SegmentRow) -> LeaseTerms:
        """Raises with the reason when the lease does not allow this footage now."""
        answer, _, terms = await self.permit(
            link, lease_id, row.camera_id, "playback", row.stream, row.start_ms, max(row.end_ms, row.start_ms + 1)
        )
        if answer.stream != row.stream:
            raise refused(answer.reason)
        return terms

    # -- endings ---------------------------------------------------------------------------------------------------

    async def purge_statement(self, link: LinkRow, value: Mapping[str, Any]) -> dict[str, Any]:
        """The upper node's word that nothing is left. A statement about leftovers is kept and is no purge."""
        text, signature = wire.text_field(value, "statement", 4000), wire.text_field(value, "signature", 400)
        verify_text(text, signature, link.public_key)
        statement = wire.PurgeStatement.from_json(wire.parse(text.encode()))
        row, _ = await self.row(link, statement.lease_id)
        now_ms = self.steady.now_ms()
        clean = statement.remaining == 0 and statement.key_destroyed

        def change(connection: Connection) -> None:
            kept = {"statement": text, "signature": signature, "received_ms": now_ms}
            values: dict[str, Any] = {"purge_statement": kept}
            if clean:
                values["purged_ms"] = now_ms
            leases.change(connection, row.id, "granted", values)
            audit.append(connection, now_ms, f"node:{link.peer_node}", "lease.purged", row.id, statement.as_json())

        await self.catalog.awrite(change)
        return {"received_ms": now_ms, "accepted": clean}

    async def heads(self, link: LinkRow, value: Mapping[str, Any]) -> dict[str, Any]:
        """The signed head of the other node's audit log, for that of ours: each keeps the other's. Theirs is kept also
        where ours is refused."""
        theirs = head_from_json(value)
        now_ms = self.steady.now_ms()
        await self.catalog.awrite(lambda c: keep_head(c, link, theirs, now_ms))
        return {"checkpoint": (await self.signed_head()).as_json()}

    async def signed_head(self) -> Checkpoint:
        """Of our audit log, for a linked node. Raises ops.audit_cut, media.store_unavailable.

        One at a time: whoever waits for a store that is slow to answer needs no thread meanwhile.
        """
        async with self._signing:
            return await asyncio.to_thread(self._heads.write, self.steady.now_ms())

    async def certificates(self, link: LinkRow, value: Mapping[str, Any]) -> dict[str, Any]:
        """What each of the two says of its relay's certificate; over a suspended link too, which may be resumed."""
        theirs = Said.from_json(value)
        statement = pins.judged(link, theirs)
        row, now_ms = link, self.steady.wall_ms()
        if pins.is_news(link, theirs, statement):
            row = await self.catalog.awrite(lambda c: pins.take(c, link, theirs, statement, now_ms))
        return (await self.catalog.aread(lambda c: pins.ours(c, self.signer, row.tls_issued_ms))).as_json()

    async def notice(self, link: LinkRow, value: Mapping[str, Any]) -> dict[str, Any]:
        """Something the other node's people should read here; it goes into the audit log."""
        topic, text = wire.text_field(value, "topic", 40, 1), wire.text_field(value, "text")
        now_ms = self.steady.now_ms()

        def change(connection: Connection) -> None:
            audit.append(connection, now_ms, f"node:{link.peer_node}", "link.notice", topic, {"text": text})

        await self.catalog.awrite(change)
        return {"received_ms": now_ms}


def head_from_json(value: Mapping[str, Any]) -> Checkpoint:
    """Raises tier.body_malformed."""
    try:
        return Checkpoint.from_json(value.get("checkpoint"))
    except (ValueError, OverflowError) as exc:
        raise TiergateError(Kind.INVALID, "tier.body_malformed", field="checkpoint") from exc


def keep_head(connection: Connection, link: LinkRow, theirs: Checkpoint, now_ms: int) -> bool:
    """`storage.audit.heads.keep` of a peer. Raises tier.head_signature."""
    try:
        return heads.keep(connection, link.peer_node, link.public_key, theirs, now_ms)
    except ValueError as exc:
        raise TiergateError(Kind.FORBIDDEN, "tier.head_signature", peer=link.peer_name) from exc


def verify_text(text: str, signature: str, public_key: bytes) -> None:
    """Raises tier.lease_signature."""
    from config.crypto import Signed, verify

    try:
        signed = Signed.from_text(signature)
    except ValueError as exc:
        raise TiergateError(Kind.FORBIDDEN, "tier.lease_signature") from exc
    if not verify(public_key, text.encode(), signed):
        raise TiergateError(Kind.FORBIDDEN, "tier.lease_signature")


def renewed_values(terms: LeaseTerms, document: str, signature: str) -> dict[str, Any]:
    return {
        "reason": terms.reason, "to_ms": terms.to_ms, "expires_ms": terms.expires_ms,
        "cache_until_ms": terms.cache_until_ms, "document": document, "signature": signature,
    }  # fmt: skip


def add_link(
    connection: Connection,
    card: wire.Card,
    role: str,
    now_ms: int,
    link_id: str,
    actor: str,
    capacity_bps: int = 10_000_000,
) -> str:
    """The peer's row, the exchange rules of pairing and the shipped mechanisms, in one transaction. The link's id."""
    fresh = LinkRow(
        link_id, card.node, card.name, card.region, card.tier, role, card.url, card.public_key, card.tls_sha256,
        "shared", capacity_bps, now_ms,
    )  # fmt: skip
    actual = links.add(connection, fresh)
    links.set_exchange(connection, actual, exchange.PAIRING_RULES)
    ship_mechanisms(connection, now_ms)
    details: dict[str, Any] = {
        "peer": card.node,
        "name": card.name,
        "role": role,
        "url": card.url,
        "key": hashlib.sha256(card.public_key).hexdigest(),
    }
    current = links.get(connection, actual)
    if current is not None and current.suspended_ms is not None:
        details["suspended_ms"] = current.suspended_ms  # it was before, and stays so
    audit.append(connection, now_ms, actor, "link.add", actual, details)
    return actual


def read_index(
    connection: Connection, camera: str, stream: str, from_ms: int, to_ms: int, now_ms: int
) -> wire.FootageIndex:
    limit = wire.INDEX_SEGMENTS_MAX
    rows = [
        r for r in segments.segments_between(connection, camera, stream, from_ms, to_ms, limit + 1) if r.kind == "own"
    ]
    more = len(rows) > limit
    rows = rows[:limit]
    runs = []
    for run_id in dict.fromkeys(r.run_id for r in rows):
        run = segments.run_of(connection, run_id)
        if run is not None:
            runs.append(wire.RunEntry(run.id, run.init, run.codec, run.audio_codec, run.width, run.height))
    end_ms = rows[-1].end_ms if more else to_ms
    missing = gaps.gaps_between(connection, camera, stream, from_ms, end_ms, wire.INDEX_GAPS_MAX)
    return wire.FootageIndex(
        camera, stream, from_ms, to_ms, now_ms, tuple(runs),
        tuple(
            wire.SegmentEntry(
                r.id, r.run_id, r.start_ms, r.end_ms, r.start_wall_ns, r.time_trust, r.bytes, r.sha256, r.init_bytes,
                r.fragments
            )
            for r in rows
        ),
        tuple(wire.GapEntry(g.cause, g.from_ms, g.to_ms, g.reason) for g in missing),
        end_ms if more else None,
    )  # fmt: skip


__all__ = [
    "Person",
    "TierServer",
    "add_link",
    "events_of",
    "mechanism_of",
    "refused",
    "row_of",
    "terms_of",
    "verify_text",
]
