"""The relay's certificate is changed under pulls and without pairing again; two whole relays with TLS on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.clock import ManualClock
from config.errors import TiergateError
from config.settings import Settings, build
from config.units import DAY_MS, HOUR_MS
from gateway.access.keys import ensure_keys
from gateway.live.wire import Unit
from gateway.ops import doctor, relay_rotation
from gateway.ops.certificates import make_private_ca
from gateway.ops.locks import KEYS_LOCK, alone
from gateway.relay import certificate as certificate_module
from gateway.relay import keeping as keeping_module
from gateway.relay import pairs
from gateway.relay.certificate import RelayCertificate
from gateway.relay.http import PeerTransport, certificate_sha256, http_over
from storage.audit import log as audit
from storage.catalog import links
from storage.catalog.engine import Catalog
from storage.catalog.links import LinkRow
from tests.gateway.knife import Knife
from tests.gateway.relay.pair import CAMERA, Node, link_again, link_up, node
from tests.gateway.relay.test_pull import pull, watch
from tests.gateway.relay.test_routes import certificate as self_signed
from tests.parts.catalog import new_catalog
from tests.parts.wait import until_async
from tests.tiering.test_wire import PUBLIC, Signer
from tiering import pins
from tiering.certificates import Certificates, Said, Statement, taken
from tiering.client import PeerClient

ROUNDS = 5
READERS = 3


def tls(folder: Path, clock: ManualClock) -> dict[str, Any]:
    """Settings of a relay whose certificate `init` made."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    make_private_ca(keys, "node", ["127.0.0.1"], clock)
    return {"tls_cert": str(keys / "tls.crt"), "tls_key": str(keys / "tls.key")}


@pytest.fixture
def by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is taken but those that the test takes."""
    monkeypatch.setattr(certificate_module, "LOOK_S", 3_600.0)
    monkeypatch.setattr(keeping_module, "CERTIFICATES_S", 3_600.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    made = ManualClock()
    monkeypatch.setattr(relay_rotation, "make_clock", lambda _: made)
    return made


@contextlib.asynccontextmanager
async def pair(folder: Path, clock: ManualClock) -> AsyncIterator[tuple[Node, Node]]:
    """(upper, lower), linked, both with TLS."""
    async with (
        node(folder / "upper", clock, "street", "210102001", **tls(folder / "upper", clock)) as upper,
        node(folder / "lower", clock, "community", "210102001001", **tls(folder / "lower", clock)) as lower,
    ):
        await link_up(upper, lower)
        yield upper, lower


def row(node_: Node) -> LinkRow:
    [found] = node_.catalog.read(links.all_of)
    return found


def state(node_: Node) -> Certificates:
    found = node_.catalog.read(pins.own)
    assert found is not None
    return found


def look(node_: Node) -> None:
    assert node_.service.certificate is not None
    node_.service.certificate.look()


def begin(node_: Node, overlap_ms: int = HOUR_MS) -> dict[str, Any]:
    return relay_rotation.begin(node_.settings, "os:test", overlap_ms)


async def presented(port: int) -> bytes:
    """Digest of the certificate that somebody who comes now is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return hashlib.sha256(der).digest()


def port_of(node_: Node) -> int:
    return int(node_.service.url.rpartition(":")[2])


def pool_of(node_: Node) -> Any:
    return node_.service.pulls.pool


def said(node_: Node, check: str = "certificates") -> list[tuple[str, str]]:
    found = doctor.examine(node_.settings, node_.clock, wanted=lambda name: name == check)
    return [(one.level, one.reason.code) for one in found if one.check == check]


async def problem(upper: Node) -> str | None:
    await upper.service.keeping.poll()
    found = upper.service.keeping.problems.get(row(upper).id)
    return None if found is None else found.code


@contextlib.asynccontextmanager
async def impostor(pair_file: Path) -> AsyncIterator[tuple[str, list[bytes]]]:
    """(url, what was said to it): somebody else who has the key of that pair."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    async with await asyncio.start_server(hear, "127.0.0.1", 0, ssl=pairs.context_of(pair_file)) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", heard


async def knock(upper: Node, url: str) -> str:
    """Why a call of the upper node to that address comes to nothing."""
    with pytest.raises(TiergateError) as refused:
        await pool_of(upper).of(replace(row(upper), url=url)).directory(None)
    return refused.value.reason.code


@pytest.mark.fault("S26")
@pytest.mark.real
async def test_the_relays_certificate_changes_under_pulls_and_no_request_fails(
    tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_module, "LOOK_S", 0.05)
    monkeypatch.setattr(keeping_module, "CERTIFICATES_S", 0.05)
    monkeypatch.setattr(keeping_module, "POLL_S", 0.05)
    failed: list[BaseException] = []
    counts = dict.fromkeys(("calls", "pictures", "reads"), 0)
    over = asyncio.Event()
    async with pair(tmp_path, clock) as (upper, lower):
        recorded = lower.record(CAMERA, lower.now_ms - 60_000)
        lease = await pull(upper)
        whole = lower.footage_bytes(recorded)

        async def call() -> None:
            while not over.is_set():
                try:
                    link_row = await pool_of(upper).usable(row(upper).id)
                    await pool_of(upper).of(link_row).directory(None)
                    offset = counts["reads"] % 100
                    got = await pool_of(upper).of(link_row).segment(lease, recorded.id, offset, 50)
                    assert got == whole[offset : offset + 50]
                    counts["reads"] += 1
                except Exception as error:
                    failed.append(error)
                counts["calls"] += 1

        async def look_on() -> None:
            async for message in watch(upper, lease):
                if over.is_set():
                    return
                counts["pictures"] += isinstance(message, Unit)

        running = [asyncio.create_task(call()) for _ in range(READERS)]
        running.append(asyncio.create_task(look_on()))
        shown = [await presented(port_of(lower))]
        for number in range(ROUNDS):
            begin(lower, HOUR_MS if number % 2 else 0)
            now = counts["calls"], counts["pictures"]

            async def another() -> bool:
                return await presented(port_of(lower)) not in shown

            await until_async(another, 30, "the new certificate")
            shown.append(await presented(port_of(lower)))

            async def gone_on(before: tuple[int, int] = now) -> bool:
                return counts["calls"] > before[0] + READERS and counts["pictures"] > before[1]

            await until_async(gone_on, 30, "requests and pictures")
        over.set()
        await asyncio.gather(*running)
        assert failed == []
        assert lower.pictures.opened == [(CAMERA, "main")], "one stream went on through all of them"
        assert len(set(shown)) == ROUNDS + 1 and state(lower).shown == shown[-1]

        async def known() -> bool:
            return row(upper).tls_sha256 == shown[-1] and row(lower).tls_told_ms == state(lower).issued_ms

        await until_async(known, 30, "the last statement")
        assert lower.service.card.tls_sha256 == shown[-1]
        kept = {shown[-1], state(lower).before}
        look(lower)
        assert {pairs.path_of(lower.keys.folder, d) for d in kept if d} == set(lower.keys.folder.glob("relay-*.pem"))


@pytest.mark.fault("S26")
async def test_the_old_certificate_is_taken_until_its_window_ends_and_then_gets_no_byte(
    tmp_path: Path, clock: ManualClock, by_hand: None
) -> None:
    async with pair(tmp_path, clock) as (upper, lower):
        old = state(lower).shown
        stolen = tmp_path / "stolen.pem"
        stolen.write_bytes(pairs.path_of(lower.keys.folder, old).read_bytes())
        done = begin(lower)
        assert not done["resumed"] and done["shown"] == old.hex() and done["links"][0]["knows_certificate"] is False
        look(lower)
        assert await presented(port_of(lower)) == old, "nobody above knows the next one"
        await upper.service.keeping.exchange_certificates()
        new = state(lower).coming
        assert (row(upper).tls_sha256, row(upper).tls_other_sha256) == (old, new)
        assert row(lower).tls_told_ms == state(lower).issued_ms
        way = pool_of(upper)._http[row(upper).id, row(upper).url][0]._way
        assert way.pins == (old, new), "before it says that it knows, whoever calls goes by it"
        async with impostor(stolen) as (url, heard):
            look(lower)
            assert await presented(port_of(lower)) == new == state(lower).shown
            assert await problem(upper) is None
            await upper.service.keeping.exchange_certificates()
            assert (row(upper).tls_sha256, row(upper).tls_other_sha256) == (new, old)
            assert row(upper).tls_other_until_ms == lower.now_ms + HOUR_MS
            assert await knock(upper, url) == "tier.peer_away" and heard, "within the window"
            heard.clear()
            clock.advance(3_600)
            assert await knock(upper, url) == "tier.tls_pin" and not heard
            assert await problem(upper) is None
        for node_, action, actor in (
            (lower, "relay.certificate_announced", "os:test"), (lower, "relay.certificate_shown", "system:relay"),
            (upper, "link.certificate", f"node:{lower.keys.node_id}"),
        ):  # fmt: skip
            entries = node_.catalog.read(lambda c, a=action: list(audit.entries(c, action=a)))  # type: ignore[misc]  # bound now
            assert [entry.actor for entry in entries] == [actor] * (2 if node_ is upper else 1)


async def test_connections_of_a_refused_certificate_open_no_request(
    tmp_path: Path, clock: ManualClock, by_hand: None
) -> None:
    """Kept alive, they would outlive the window for as long as somebody asks often enough."""
    async with pair(tmp_path, clock) as (upper, lower):
        transport = pool_of(upper)._http[row(upper).id, row(upper).url][0]
        first, early = transport._way, row(upper)
        begin(lower, 0)
        for _ in range(3):
            assert await problem(upper) is None  # the directory tells that there is something to hear
            await upper.service.keeping.exchange_certificates()
            look(lower)
        assert await problem(upper) is None
        assert transport._way is not first and transport._way.pins == (state(lower).shown,)
        assert transport._before == [] and first.running == 0
        pool_of(upper).of(early)
        assert transport._way.pins == (state(lower).shown,), "who read the link before brings nothing back"


@pytest.mark.parametrize(("said_meanwhile", "code"), [("both", "tier.peer_away"), ("another", "tier.tls_pin")])
async def test_what_was_said_while_a_handshake_ran_counts_at_its_end(
    tmp_path: Path, said_meanwhile: str, code: str
) -> None:
    cert, key = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    came, go_on = asyncio.Event(), asyncio.Event()
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.set()
        await go_on.wait()
        with contextlib.suppress(OSError):
            await writer.start_tls(context)
            heard.append(await reader.read(100))
        writer.close()

    shown, old = certificate_sha256(cert), b"o" * 32
    before = (old,) if said_meanwhile == "both" else (shown,)
    transport = PeerTransport(["127.0.0.0/8"], before)
    async with await asyncio.start_server(hear, "127.0.0.1", 0) as server, http_over(transport) as http:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = PeerClient(url, "n" * 16, PUBLIC, Signer(), http, lambda: 0, bytes)
        calling = asyncio.create_task(client.directory(None))
        await came.wait()
        transport.trust((old, shown) if said_meanwhile == "both" else (old,))
        go_on.set()
        with pytest.raises(TiergateError) as refused:
            await calling
        assert refused.value.reason.code == code
    assert any(heard) == (code == "tier.peer_away")


@pytest.mark.fault("S14", "S26")
async def test_what_is_said_of_a_certificate_by_another_key_of_another_node_or_again_changes_nothing(
    tmp_path: Path, clock: ManualClock, by_hand: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with pair(tmp_path, clock) as (upper, lower):
        up, down = upper.service.server.signer, lower.service.server.signer
        other = bytes(32)
        mine = Statement(up.node_id, upper.now_ms, other)
        forged = [
            mine.signed(down), Statement(down.node_id, upper.now_ms, other).signed(down),
            Statement(down.node_id, upper.now_ms, other).signed(up), (mine.signed(up)[0], "nonsense"),
        ]  # fmt: skip
        for text, signature in forged:
            with pytest.raises(TiergateError) as refused:
                await pool_of(upper).of(row(upper)).certificates(Said(text, signature, None))
            assert refused.value.reason.code == "tier.certificate_statement"
        assert (row(lower).tls_issued_ms, row(lower).tls_sha256) == (None, state(upper).shown)

        begin(lower)
        await upper.service.keeping.exchange_certificates()
        early = lower.catalog.read(lambda c: pins.ours(c, down, None))
        look(lower)
        await upper.service.keeping.poll()
        await upper.service.keeping.exchange_certificates()
        before = row(upper)
        assert before.tls_sha256 == state(lower).shown

        async def answer(*_: object) -> dict[str, Any]:
            return replies.pop(0).as_json()

        monkeypatch.setattr(lower.service.server, "certificates", answer)
        own = Said(*Statement(up.node_id, lower.now_ms + 1, other).signed(up), None)
        replies = [replace(early, held_ms=None), replace(own, held_ms=None)]
        keeping = upper.service.keeping
        assert (await keeping._hear(before)).tls_issued_ms == before.tls_issued_ms, "an older word"
        with pytest.raises(TiergateError) as refused:
            await keeping._hear(row(upper))
        assert refused.value.reason.code == "tier.certificate_statement"
        assert row(upper) == before


@pytest.mark.fault("S26")
async def test_a_node_that_is_away_is_waited_for_and_learns_when_it_is_back(
    tmp_path: Path, clock: ManualClock, by_hand: None
) -> None:
    async with pair(tmp_path, clock) as (upper, lower):
        old = state(lower).shown
        begin(lower)
        clock.advance(30 * 86_400)
        look(lower)
        assert await presented(port_of(lower)) == old
        assert ("warn", "ops.certificate_waits") in said(lower)
        with pytest.raises(TiergateError, match="street node") as refused:
            relay_rotation.finish(lower.settings, "os:test", force=False)
        assert refused.value.reason.code == "tier.certificate_waits"
        assert begin(lower)["resumed"], "no second change beside the first"
        await upper.service.keeping.poll()
        await upper.service.keeping.exchange_certificates()
        look(lower)
        assert await presented(port_of(lower)) == row(upper).tls_other_sha256
        assert await problem(upper) is None and said(lower) == [("ok", "ops.certificate_ok")]
        with pytest.raises(TiergateError) as idle:
            relay_rotation.finish(lower.settings, "os:test", force=False)
        assert idle.value.reason.code == "tier.certificate_idle"


@pytest.mark.fault("S26")
async def test_who_is_left_behind_is_named_and_must_be_paired_again(
    tmp_path: Path, clock: ManualClock, by_hand: None
) -> None:
    async with pair(tmp_path, clock) as (upper, lower):
        id_ = row(upper).id
        begin(lower)
        done = relay_rotation.finish(lower.settings, "os:test", force=True)
        assert done["coming"] is None and [line["knows_certificate"] for line in done["links"]] == [False]
        look(lower)
        await pool_of(upper).close()
        assert await problem(upper) == "tier.tls_pin"
        assert ("bad", "ops.certificate_behind") in said(lower)
        [entry] = lower.catalog.read(lambda c: list(audit.entries(c, action="relay.certificate_shown")))
        assert entry.details["left_behind"] == [upper.keys.node_id]
        clock.advance(1)
        await link_again(upper, lower)
        assert await problem(upper) is None and said(lower) == [("ok", "ops.certificate_ok")]
        assert row(upper).id == id_ and row(upper).tls_sha256 == state(lower).shown


async def test_an_upper_nodes_certificate_waits_for_nobody_and_is_pushed_down(
    tmp_path: Path, clock: ManualClock, by_hand: None
) -> None:
    """Nobody below calls it; what the lower node keeps is for the day that it does."""
    async with pair(tmp_path, clock) as (upper, lower):
        begin(upper)
        look(upper)
        assert await presented(port_of(upper)) == state(upper).shown != row(lower).tls_sha256
        await upper.service.keeping.exchange_certificates()
        assert row(lower).tls_sha256 == state(upper).shown and row(upper).tls_told_ms == state(upper).issued_ms


async def test_over_a_suspended_link_too(tmp_path: Path, clock: ManualClock, by_hand: None) -> None:
    async with pair(tmp_path, clock) as (upper, lower):
        for node_ in (upper, lower):
            node_.catalog.write(lambda c, n=node_: links.change(c, row_id(c), {"suspended_ms": n.now_ms}))  # type: ignore[misc]  # bound now
        begin(lower)
        clock.advance(60)
        await upper.service.keeping.exchange_certificates()
        assert row(lower).tls_told_ms == state(lower).issued_ms


def row_id(connection: Any) -> str:
    [found] = links.all_of(connection)
    return found.id


# --- without a relay: files, steps, kills --------------------------------------------------------------------------


class Place:
    """A lower node's files and catalog, and a node above that hears what it says when told to."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.settings: Settings = build(
            {
                "node": {"name": "n", "tier": "community", "region": "210102001001"},
                "paths": {"data": str(folder)},
                "relay": {"listen": "127.0.0.1:0", **tls(folder, clock)},
            }
        )
        self.clock, self.folder = clock, self.settings.paths.keys_dir
        for path in (self.settings.paths.catalog_dir, self.settings.paths.run_dir):
            path.mkdir(parents=True, exist_ok=True)
        ensure_keys(self.settings)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        above = LinkRow(
            "01K000000000000000000000LK", "f" * 16, "above", "210102001", "street", "upper", "https://10.9.9.9:1",
            bytes(32), None, "shared", 10_000_000, self.now_ms,
        )  # fmt: skip
        self.catalog.write(lambda c: links.add(c, above))
        self.shown: list[bytes] = []
        self.pinned: tuple[bytes, bytes | None, int | None] = (certificate_sha256(self.folder / "tls.crt"), None, None)
        self.relay = self.start()

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000

    def state(self) -> Certificates:
        found = self.catalog.read(pins.own)
        assert found is not None
        return found

    def start(self) -> RelayCertificate:
        self.relay = RelayCertificate(self.settings, self.catalog, self.clock, self.shown.append)
        self.relay.open()
        return self.relay

    def hear(self) -> None:
        """The node above holds what is said now, and says so."""
        said_now = self.state().statement("n" * 16)
        if said_now is not None:
            self.pinned = (said_now.shown, said_now.other, said_now.until_ms)
            told = {"tls_told_ms": said_now.issued_ms}
            self.catalog.write(lambda c: links.change(c, "01K000000000000000000000LK", told))

    def is_taken(self) -> bool:
        return self.shown[-1] in (taken(*self.pinned, self.now_ms) or ())

    def put(self, made: tuple[Path, Path], *names: str) -> None:
        for name, source in zip(("tls.crt", "tls.key"), made, strict=True):
            if name in names:
                (self.folder / name).write_bytes(source.read_bytes())

    def actions(self) -> list[str]:
        entries = self.catalog.read(lambda c: list(audit.entries(c)))
        return [e.action.removeprefix("relay.certificate_") for e in entries if e.action.startswith("relay.")]


@pytest.fixture
def place(tmp_path: Path, clock: ManualClock) -> Iterator[Place]:
    made = Place(tmp_path / "node", clock)
    yield made
    made.catalog.close()


@pytest.mark.fault("S26")
def test_killed_at_every_step_it_shows_what_the_others_take_and_goes_on(place: Place) -> None:
    def whole() -> None:
        relay_rotation.begin(place.settings, "os:test", HOUR_MS)
        place.hear()
        place.relay.look()

    with Knife(None) as counted:
        whole()
    assert counted.places > 20
    for number in range(1, counted.places + 1):
        place.hear()
        place.clock.advance(7_200)
        before = place.state().shown
        with Knife(number):
            whole()
        assert place.is_taken(), number
        for path in place.folder.glob("relay-*.pem"):
            pairs.context_of(path)  # each is whole
        place.start()
        assert place.is_taken(), number
        place.hear()
        relay_rotation.begin(place.settings, "os:test", HOUR_MS)
        place.hear()
        place.relay.look()
        now = place.state()
        assert now.coming is None and now.shown == place.shown[-1] != before and place.is_taken(), number
        left = {path.name for path in place.folder.glob("relay*")}
        assert left == {pairs.path_of(place.folder, d).name for d in (now.shown, now.before) if d}, number


@pytest.mark.fault("S26")
def test_a_certificate_that_this_node_made_is_changed_before_it_ends(place: Place) -> None:
    place.clock.advance(790 * 86_400)
    place.relay.look()
    assert place.state().coming is None
    place.clock.advance(10 * 86_400)
    place.relay.look()
    place.hear()
    place.relay.look()
    assert place.shown[-1] == place.state().shown != place.shown[0]
    told = relay_rotation.look(place.settings)
    assert told["days_left"] == 825 and told["shown"] == place.state().shown.hex()
    assert place.actions() == ["announced", "shown"]
    found = doctor.examine(place.settings, place.clock, wanted=lambda name: name == "certificates")
    [one] = [finding for finding in found if finding.check == "certificates"]
    assert (one.reason.code, one.reason.params["days"]) == ("ops.certificate_ok", 825), "not that of the files"
    place.relay.look()
    assert place.actions() == ["announced", "shown"], "once"


def test_one_that_this_node_did_not_make_is_left_to_who_did(place: Place, tmp_path: Path) -> None:
    (place.folder / "ca.key").unlink()
    place.clock.advance(820 * 86_400)
    place.relay.look()
    assert place.state().coming is None
    with pytest.raises(TiergateError) as refused:
        relay_rotation.begin(place.settings, "os:test", 0)
    assert refused.value.reason.code == "tier.certificate_same"
    with pytest.raises(TiergateError, match="90 days"):
        relay_rotation.begin(place.settings, "os:test", 91 * DAY_MS)


@pytest.mark.fault("S26")
def test_other_files_are_announced_when_they_are_a_pair_and_shown_when_they_are_known(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = place.state().shown
    (tmp_path / "old").mkdir()
    old = tuple((tmp_path / "old" / name) for name in ("tls.crt", "tls.key"))
    for source in old:
        source.write_bytes((place.folder / source.name).read_bytes())
    made = self_signed(tmp_path)
    place.put(made, "tls.crt")
    place.relay.look()
    place.relay.look()
    assert place.state().coming is None and not list(place.folder.glob("relay.new"))
    assert len([r for r in caplog.records if "not announced" in r.getMessage()]) == 1, "said once, not at every look"
    place.put(made, "tls.key")
    with alone(place.settings.paths.run_dir / KEYS_LOCK, "access.keys_busy"):
        place.relay.look()
        assert place.state().coming is None, "a backup reads keys and rows"
    place.relay.look()
    assert place.state().coming == certificate_sha256(made[0]) and place.shown == [first]
    place.start()
    assert place.shown[-1] == first, "a start changes nothing of it"
    place.put((old[0], old[1]), "tls.crt", "tls.key")
    place.relay.look()
    assert place.state().coming is None and place.actions() == ["announced", "withdrawn"]
    place.put(made, "tls.crt", "tls.key")
    place.relay.look()
    place.hear()
    place.relay.look()
    assert place.shown[-1] == certificate_sha256(made[0]) and place.is_taken()


def test_the_command_takes_a_new_pair_that_lies_there(place: Place, tmp_path: Path) -> None:
    made = self_signed(tmp_path)
    place.put(made, "tls.crt")
    with pytest.raises(TiergateError) as refused:
        relay_rotation.begin(place.settings, "os:test", 0)
    assert refused.value.reason.code == "settings.bad_value"
    place.put(made, "tls.key")
    assert relay_rotation.begin(place.settings, "os:test", 0)["coming"] == certificate_sha256(made[0]).hex()
    place.relay.look()
    assert place.actions() == ["announced"], "not twice"


def test_a_pair_that_is_lost_is_said_and_the_files_are_shown(place: Place, tmp_path: Path) -> None:
    relay_rotation.begin(place.settings, "os:test", 0)
    coming = place.state().coming
    assert coming is not None
    pairs.path_of(place.folder, coming).unlink()
    place.hear()
    place.relay.look()
    assert place.state().coming is None and place.actions() == ["announced", "withdrawn"]
    made = self_signed(tmp_path)
    place.put(made, "tls.crt", "tls.key")
    pairs.path_of(place.folder, place.state().shown).unlink()
    place.start()
    assert place.shown[-1] == certificate_sha256(made[0]) == place.state().shown
    assert place.actions()[-1] == "lost"


def test_without_tls_there_is_none_to_change(tmp_path: Path, clock: ManualClock) -> None:
    settings = build({"node": {"name": "n", "tier": "city", "region": "2101"}, "paths": {"data": str(tmp_path)}})
    asked: list[Callable[[], object]] = [
        partial(relay_rotation.look, settings), partial(relay_rotation.begin, settings, "os:test", 0),
        partial(relay_rotation.finish, settings, "os:test", True),
    ]  # fmt: skip
    for work in asked:
        with pytest.raises(TiergateError) as refused:
            work()
        assert refused.value.reason.code == "tier.certificate_off"
