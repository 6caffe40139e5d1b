"""Any torn file: what was whole before the tear is kept, nothing else is believed, and nothing crashes. (I1, I2)"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from storage.catalog.engine import Catalog
from storage.catalog.segments import insert_segments
from storage.media import fragment_index
from storage.media.boxes import salvage
from storage.media.fragment_index import FragmentEntry
from storage.salvage import RecoveryReport, recover
from storage.segmenter import CloseSegment, OpenSegment, Write
from storage.spool import FAILED, PART, SEALED, Spool
from tests.media import decode_mp4
from tests.storage.footage import CAMERA, commands, make_catalog, make_spool, new_id, record


@dataclass(frozen=True, slots=True)
class Whole:
    """A segment as it was written: its head, its fragments, its closing index."""

    id: str
    data: bytes
    entries: tuple[FragmentEntry, ...]
    head: int  #: bytes before the first fragment
    media: int  #: bytes before the index


@cache
def whole(with_audio: bool = True) -> Whole:
    orders = list(commands(3.0, segment_ms=60_000, with_audio=with_audio))
    opened, closed = orders[0], orders[-1]
    assert isinstance(opened, OpenSegment) and isinstance(closed, CloseSegment)
    writes = [order for order in orders if isinstance(order, Write)]
    media = opened.init + b"".join(write.data for write in writes)
    return Whole(
        opened.segment_id, media + closed.index, tuple(w.entry for w in writes), len(opened.init), len(media)
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tear:
    at: float  #: where, as a share of the file
    how: str
    length: int


TEARS = st.builds(
    Tear,
    st.floats(0, 1),
    st.sampled_from(["cut", "zeros", "flip", "garbage", "grown"]),
    st.integers(1, 5_000),
)


def torn(original: Whole, tear: Tear) -> tuple[bytes, int]:
    """The file, and how many bytes of it are certainly as they were written."""
    data = original.data
    at = int(tear.at * (len(data) - 1))
    if tear.how == "cut":
        return data[:at], at
    if tear.how == "zeros":  # a power loss: the length is there, the pages are not
        return data[:at] + bytes(len(data) - at), at
    if tear.how == "flip":
        return data[:at] + bytes([data[at] ^ 1 << tear.length % 8]) + data[at + 1 :], at
    if tear.how == "garbage":
        return data[:at] + (hashlib.sha256(data[:at]).digest() * (tear.length // 32 + 1))[: tear.length], at
    return data[: original.media] + bytes(tear.length), original.media


def recovered(catalog: Catalog, spool: Spool, data: bytes, suffix: str) -> RecoveryReport:
    folder = spool.root / CAMERA
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()
    (folder / (whole().id + suffix)).write_bytes(data)
    catalog.write(lambda c: c.exec_driver_sql("DELETE FROM segment"))
    return recover(catalog, spool, [CAMERA])


@settings(max_examples=250, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(tear=TEARS, suffix=st.sampled_from([PART, SEALED, FAILED]))
def test_at_most_what_was_torn_is_lost(tear: Tear, suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    original = whole()
    data, sound = torn(original, tear)
    catalog, spool = _place(tmp_path_factory)
    report = recovered(catalog, spool, data, suffix)
    kept = [entry for entry in original.entries if entry.offset + entry.size <= sound]
    found = report.salvaged + report.adopted
    if not kept:  # the tear is in the head or the first fragment: nothing of it can be shown, nothing is invented
        assert len(found) <= 1
    else:
        (one,) = found
        entries = fragment_index.decode(one.segment.fragments)
        # All that was whole before the tear, in order; behind it only what a flipped bit has left whole in form.
        assert entries[: len(kept)] == tuple(kept)
        # A flipped bit may leave its fragment whole in form, with another duration: only a digest could tell.
        strange = set(entries) - set(original.entries)
        assert all(entry.offset <= sound < entry.offset + entry.size for entry in strange)
        if tear.how != "flip":
            assert all(entry.offset < sound for entry in entries)
    for one in found:
        sealed = one.path.read_bytes()
        assert hashlib.sha256(sealed).digest() == one.segment.sha256
        assert len(sealed) == one.segment.bytes
        media = max(e.offset + e.size for e in fragment_index.decode(one.segment.fragments))
        assert sealed[: min(sound, media)] == original.data[: min(sound, media)]
        # A whole segment now: nothing of the torn end lies between its fragments and its index.
        read = salvage(lambda offset, count, data=sealed: data[offset : offset + count], len(sealed))  # type: ignore[misc]  # a bound default
        assert read.sealed and read.good_length == media
    again = recover(catalog, spool, [CAMERA])
    assert (again.salvaged, again.adopted, again.quarantined, again.empty) == ([], [], [], 0)


_PLACES: list[tuple[Catalog, Spool]] = []


def _place(factory: pytest.TempPathFactory) -> tuple[Catalog, Spool]:
    """One for all examples."""
    if not _PLACES:
        folder = factory.mktemp("salvage")
        _PLACES.append((make_catalog(folder), make_spool(folder)))
    return _PLACES[0]


@pytest.fixture(scope="module", autouse=True)
def _closed() -> object:
    yield None
    while _PLACES:
        _PLACES.pop()[0].close()


@pytest.mark.parametrize("number", [1, 2, 5])
def test_a_tear_at_the_edge_of_a_fragment_costs_nothing(
    number: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    original = whole(with_audio=False)
    spool, catalog = make_spool(tmp_path), make_catalog(tmp_path)
    end = original.entries[number].offset + original.entries[number].size
    folder = spool.root / CAMERA
    folder.mkdir()
    (folder / (original.id + PART)).write_bytes(original.data[:end])
    (one,) = recover(catalog, spool, [CAMERA]).salvaged
    assert fragment_index.decode(one.segment.fragments) == original.entries[: number + 1]
    assert one.lost_bytes == 0
    pictures = sum(entry.samples for entry in original.entries[: number + 1])
    assert decode_mp4(one.path.read_bytes()).pictures == pictures
    catalog.close()


@settings(max_examples=120, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(share=st.floats(0, 1), suffix=st.sampled_from([PART, SEALED]))
@example(share=b'"own"', suffix=PART)
@example(share=b'"main"', suffix=PART)
@example(share=b'"synchronised"', suffix=SEALED)
def test_a_flipped_bit_in_a_files_word_about_itself_stops_nobody(
    share: float | bytes, suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No checksum covers it: what cannot be true is put aside, and what could be is a row."""
    data = bytearray(whole().data)
    if isinstance(share, bytes):
        bit = data.index(share) * 8 + 8 + 3
    else:
        first = data.index(b'{"', data.index(b"uuid")) * 8
        bit = first + int(share * (whole().head * 8 - 1 - first))
    data[bit // 8] ^= 1 << bit % 8
    catalog, spool = _place(tmp_path_factory)
    report = recovered(catalog, spool, bytes(data), suffix)
    for one in report.salvaged + report.adopted:
        assert (one.segment.kind, one.segment.stream, one.segment.time_trust) == ("own", "main", "synchronised")
    assert len(report.salvaged) + len(report.adopted) + len(report.quarantined) == 1
    again = recover(catalog, spool, [CAMERA])
    assert (again.salvaged, again.adopted, again.quarantined) == ([], [], [])


def test_a_file_whose_row_is_refused_is_put_aside_and_takes_no_other_with_it(tmp_path: Path) -> None:
    catalog, spool = make_catalog(tmp_path), make_spool(tmp_path)
    made = record(spool, 4.0)
    assert len(made) >= 3
    # Another segment has the place in the store that the first one's row would name.
    other = replace(made[0].segment, id=new_id(), start_ms=0, end_ms=1)
    catalog.write(lambda c: insert_segments(c, [other]))
    report = recover(catalog, spool, [CAMERA])
    assert report.quarantined == [made[0].path]
    assert {one.segment.id for one in report.adopted} == {one.segment.id for one in made[1:]}
    assert len(list(spool.quarantined())) == 1
    catalog.close()
