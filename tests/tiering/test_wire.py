"""CMAF between nodes, signatures, the nonce journal, documents, sealed cache objects."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.clock import ManualClock
from config.crypto import DEFAULT_SUITE, Signed, key_id, sign
from config.errors import TiergateError
from config.reasons import Reason
from storage.media.access_unit import AccessUnit, StreamConfig
from storage.objects.folder import FolderStore
from tests.media import access_units, encode_aac, encode_h264, stream_config
from tiering.cache import RECORD_BYTES, LeaseKeys, SealedStore
from tiering.cmaf import CmafReader, CmafWriter, Notice
from tiering.lease import LeaseRequest, Person
from tiering.nonces import NonceJournal
from tiering.signing import check_answer, check_request, read_claim, sign_answer, sign_request
from tiering.steady import SteadyClock
from tiering.wire import (
    Card,
    FootageIndex,
    GapEntry,
    Invite,
    SegmentEntry,
    joined,
    lease_request_from_json,
    lease_request_to_json,
    parse,
)

NOW = 1_790_000_000_000
KEY = bytes(range(32))
PUBLIC = DEFAULT_SUITE.public_key(KEY)


class Signer:
    node_id = key_id(PUBLIC)
    public_key = PUBLIC

    def sign(self, message: bytes) -> Signed:
        return sign(KEY, message)


def sent() -> tuple[StreamConfig, list[AccessUnit]]:
    aac = encode_aac(1.0)
    packets = encode_h264(1.0, bframes=2)
    config = stream_config("h264", packets, aac[0])
    return config, access_units("h264", packets, audio=aac, dts_offset=-90_000)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=20))
def test_units_come_back_equal_however_the_bytes_are_cut(sizes: list[int]) -> None:
    config, units = sent()
    writer, reader = CmafWriter(), CmafReader()
    notice = Notice("stream", Reason("tier.reduced_for_line").as_json(), "sub")
    data = writer.config(config) + b"".join(map(writer.unit, units)) + writer.notice(notice) + writer.config(config)
    got: list[object] = []
    position = turn = 0
    while position < len(data):
        step = sizes[turn % len(sizes)]
        got += reader.feed(data[position : position + step])
        position, turn = position + step, turn + 1
    assert got == [config, *units, notice, config]
    assert reader.epoch == 1


@given(st.integers(1_577_836_800, 4_000_000_000), st.integers(0, 999_999_999))
def test_frame_times_survive_to_the_nanosecond_beyond_2036(seconds: int, rest: int) -> None:
    config, units = sent()
    unit = replace(units[0], wall_ns=seconds * 1_000_000_000 + rest)
    writer = CmafWriter()
    *_, back = CmafReader().feed(writer.config(config) + writer.unit(unit))
    assert isinstance(back, AccessUnit) and back.wall_ns == unit.wall_ns


@pytest.mark.fault("S11")
@given(st.binary(max_size=400))
def test_garbage_raises_value_error_or_waits(data: bytes) -> None:
    reader = CmafReader()
    try:
        list(reader.feed(data))
    except ValueError:
        return
    assert len(reader._buffer) <= len(data)


@pytest.mark.fault("S14")
def test_a_request_counts_for_one_receiver_one_target_one_body_one_time(tmp_path: Path) -> None:
    headers = sign_request(Signer(), "receiver", "POST", "/x?a=1", b"body", NOW, secrets.token_bytes(16))
    claim = read_claim(headers)
    check_request(claim, PUBLIC, "receiver", "POST", "/x?a=1", b"body", NOW + 30_000)
    for change in (
        {"receiver": "other"}, {"method": "GET"}, {"target": "/x?a=2"}, {"body": b"bodY"}, {"now_ms": NOW + 30_001},
        {"public_key": DEFAULT_SUITE.public_key(bytes(32))},
    ):  # fmt: skip
        good = {
            "public_key": PUBLIC, "receiver": "receiver", "method": "POST", "target": "/x?a=1", "body": b"body",
            "now_ms": NOW,
        }  # fmt: skip
        with pytest.raises(TiergateError):
            check_request(claim, **{**good, **change})  # type: ignore[arg-type]  # arguments by name
    signature = sign_answer(Signer(), claim.nonce, 200, b"answer")
    check_answer(PUBLIC, claim.nonce, 200, b"answer", signature)
    for nonce, status, body in (("x", 200, b"answer"), (claim.nonce, 201, b"answer"), (claim.nonce, 200, b"other")):
        with pytest.raises(TiergateError):
            check_answer(PUBLIC, nonce, status, body, signature)


@pytest.mark.fault("S14")
def test_a_nonce_is_taken_once_even_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "nonces"
    NonceJournal(path, NOW).take("node", "n1", NOW, NOW)
    again = NonceJournal(path, NOW + 1000)
    with pytest.raises(TiergateError) as refused:
        again.take("node", "n1", NOW, NOW + 1000)
    assert refused.value.reason.code == "tier.replayed"
    again.take("node", "n2", NOW, NOW)
    NonceJournal(path, NOW + 61_000)
    assert path.read_text() == ""  # too old to be believed, so no longer kept


def test_documents_come_back_equal_and_hostile_ones_are_named() -> None:
    who = Person("王", "中心")
    request = LeaseRequest(
        "emergency", 1, "A-1", "reason", who, (who,), ("21010200011326000001",), ("live",), 30, "sub", None, 5, 6, 7
    )
    good = json.loads(json.dumps(lease_request_to_json(request)))
    assert lease_request_from_json(good) == request
    card = Card(key_id(PUBLIC), "name", "210102001", "street", "https://h:8090", PUBLIC, bytes(32))
    assert Card.from_json(card.as_json()) == card
    invite = Invite("http://127.0.0.1:8090", card.node, bytes(32), None, "upper", bytes(20), NOW)
    assert Invite.from_code(invite.as_code()) == invite
    for code in ("", "tg1-", "tg1-AAAA", invite.as_code()[:-3], invite.as_code().replace("tg1", "tg2")):
        with pytest.raises(TiergateError):
            Invite.from_code(code)
    for name, value in (
        ("cameras", ["x"]), ("cameras", "x"), ("minutes", True), ("minutes", 10**9), ("reason", "x" * 501),
        ("persons", [{"name": 1, "unit": "u"}]), ("from_ms", "now"), ("requester", None), ("case_no", "a\0b"),
    ):  # fmt: skip
        with pytest.raises(TiergateError):
            lease_request_from_json({**good, name: value})
    for url in ("ftp://h", "http://u:p@h", "http://h?x", "http://", "http://h:0", "javascript:alert(1)"):
        with pytest.raises(TiergateError):
            Card.from_json({**card.as_json(), "url": url})
    with pytest.raises(TiergateError):
        parse(b"[" * 100_000)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[FolderStore]:
    store = FolderStore(tmp_path / "cache", name="cache")
    store.ensure()
    yield store


@pytest.mark.parametrize("size", [0, 1, RECORD_BYTES, RECORD_BYTES + 1, 3 * RECORD_BYTES - 5])
def test_sealed_objects_read_back_in_any_range_and_show_nothing(folder: FolderStore, size: int) -> None:
    data = secrets.token_bytes(size)
    sealed = SealedStore(folder, KEY, secrets.token_bytes)
    sealed.put_bytes("cache/a/b/0", data)
    assert sealed.read("cache/a/b/0") == data
    for offset, length in ((0, 10), (size // 2, RECORD_BYTES), (max(0, size - 3), 100), (size, 5)):
        assert sealed.read("cache/a/b/0", offset, length) == data[offset : offset + length]
    raw = folder.read("cache/a/b/0")
    assert size < 16 or data[:16] not in raw


def test_sealed_objects_cannot_be_moved_cut_changed_or_opened_by_another_lease(folder: FolderStore) -> None:
    sealed = SealedStore(folder, KEY, secrets.token_bytes)
    sealed.put_bytes("cache/a/b/0", secrets.token_bytes(2 * RECORD_BYTES + 9))
    raw = folder.read("cache/a/b/0")
    cases = {
        "cache/a/b/1": raw,  # moved
        "cache/a/b/2": raw[: -(9 + 16)],  # cut at a record
        "cache/a/b/3": raw[:100] + bytes([raw[100] ^ 1]) + raw[101:],
        "cache/a/b/4": b"",
    }
    for name, value in cases.items():
        folder.put_bytes(name, value)
        with pytest.raises(TiergateError) as broken:
            sealed.read(name)
        assert broken.value.reason.code == "crypto.sealed_broken"
    with pytest.raises(TiergateError):
        SealedStore(folder, bytes(32), secrets.token_bytes).read("cache/a/b/0")


def test_a_leases_key_is_private_and_can_be_destroyed(tmp_path: Path) -> None:
    keys, lease = LeaseKeys(tmp_path / "leases", secrets.token_bytes), "01JBQ8Y3M0AAAAAAAAAAAAAAAA"
    made = keys.make(lease)
    assert keys.make(lease) == made == keys.get(lease) and len(made) == 32
    assert (tmp_path / "leases" / lease).stat().st_mode & 0o777 == 0o600
    keys.destroy(lease)
    keys.destroy(lease)
    assert keys.get(lease) is None and keys.all_ids() == [] and keys.make(lease) != made
    with pytest.raises(ValueError):
        keys.make("../../etc/passwd")


def test_first_readers_of_a_lease_that_come_at_once_get_one_key(tmp_path: Path) -> None:
    keys = LeaseKeys(tmp_path / "leases", secrets.token_bytes)
    with ThreadPoolExecutor(8) as readers:
        for n in range(50):
            lease, together = f"{n:026d}", threading.Barrier(8)

            def first(lease: str = lease, together: threading.Barrier = together) -> bytes:
                together.wait(10)
                return keys.make(lease)

            got = [future.result() for future in [readers.submit(first) for _ in range(8)]]
            assert set(got) == {keys.get(lease)}


@pytest.mark.fault("S16")
def test_setting_the_wall_clock_back_makes_no_lease_longer() -> None:
    clock = ManualClock()
    steady = SteadyClock(clock)
    begin = steady.now_ms()
    clock.advance(10)
    clock.step_wall(-3600)
    assert steady.now_ms() == begin + 10_000
    clock.advance(5)
    assert steady.now_ms() == begin + 15_000
    clock.step_wall(7200)
    assert steady.now_ms() > begin + 3_000_000


def index(next_ms: int | None, gaps: list[int], segments: list[int]) -> FootageIndex:
    """Gaps by their number, of which the last digit says what stands in them; segments by theirs."""
    told = [
        GapEntry(("network", "clock")[n % 2], n // 10, None if n % 3 else n, {"n": n % 5} if n % 4 else None)
        for n in gaps
    ]
    kept = [SegmentEntry(f"{n:026d}", "0" * 26, n, n + 1, n, "ok", 1, bytes(32), 0, b"") for n in segments]
    return FootageIndex("c", "main", 0, 10**6, 0, (), tuple(kept), tuple(told), next_ms)


numbers = st.lists(st.integers(0, 60), max_size=12)


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=4))
def test_pages_together_tell_everything_once_in_their_order(told: list[tuple[list[int], list[int]]]) -> None:
    pages = [index(n + 1, *one) for n, one in enumerate(told)]
    whole = joined(pages)
    gaps: list[GapEntry] = []
    segments: list[SegmentEntry] = []
    for page in pages:
        gaps += [gap for n, gap in enumerate(page.gaps) if gap not in (*gaps, *page.gaps[:n])]
        segments += [s for n, s in enumerate(page.segments) if s not in (*segments, *page.segments[:n])]
    assert (list(whole.gaps), list(whole.segments), whole.next_ms) == (gaps, segments, len(pages))


@pytest.mark.fault("S11")
def test_joining_pages_compares_no_gap_with_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty pages of five thousand would hold the relay's loop, and every picture in it, for an hour."""
    compared = 0
    equal = GapEntry.__eq__

    def counted(one: GapEntry, other: object) -> bool:
        nonlocal compared
        compared += 1
        return equal(one, other)

    monkeypatch.setattr(GapEntry, "__eq__", counted)
    pages = [index(n + 1, list(range(n * 3000, n * 3000 + 3000, 10)), []) for n in range(3)]
    assert len(joined(pages).gaps) == 900
    assert compared <= 900
