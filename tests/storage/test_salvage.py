"""Any torn file: what was whole before the tear is kept, nothing else is believed, and nothing crashes. (I1, I2)"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from config.clock import SystemClock
from config.reasons import Reason
from storage import damage
from storage import salvage as salvage_module
from storage.audit import log as audit
from storage.catalog.engine import Catalog
from storage.catalog.segments import SegmentRow, insert_segments, segment_of, set_state
from storage.media import fragment_index
from storage.media.boxes import Salvage, salvage
from storage.media.fragment_index import FragmentEntry
from storage.objects.folder import FolderStore
from storage.rebuild import rebuild
from storage.salvage import RecoveryReport, recover
from storage.segmenter import CloseSegment, OpenSegment, Write
from storage.spool import FAILED, PART, SEALED, Spool
from storage.uploader import Uploader
from tests.media import WALL_NS, decode_mp4
from tests.storage.footage import (
    CAMERA,
    NODE,
    Recorded,
    commands,
    insert,
    make_catalog,
    make_spool,
    new_id,
    record,
)


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


@settings(max_examples=250, database=None, suppress_health_check=list(HealthCheck))
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
    pictures = sum(entry.samples for entry in original.entries[: number + 1])
    assert decode_mp4(one.path.read_bytes()).pictures == pictures
    catalog.close()


@settings(max_examples=120, database=None, suppress_health_check=list(HealthCheck))
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


class Node:
    """A catalog, a folder store and a spool with footage that the store has, and copies that its rows do not name."""

    def __init__(self, folder: Path) -> None:
        self.catalog, self.spool = make_catalog(folder), make_spool(folder)
        self.store = FolderStore(folder / "objects")
        self.store.ensure()
        self.recorded = record(self.spool, 5.0)
        insert(self.catalog, self.recorded)
        for one in self.recorded:
            self.store.put_file(one.segment.object_key, one.path, one.segment.sha256, one.segment.bytes)

    def move(self, one: Recorded, state: str) -> None:
        ids = [one.segment.id]
        self.catalog.write(lambda c: set_state(c, ids, ["spooled", "stored"], state, volume=None))

    def row(self, one: Recorded) -> SegmentRow:
        row = self.catalog.read(lambda c: segment_of(c, one.segment.id))
        assert row is not None
        return row

    def recover(self) -> RecoveryReport:
        return recover(self.catalog, self.spool, [CAMERA])

    def upload(self) -> None:
        uploader = Uploader(self.catalog, self.store, self.spool, SystemClock())
        while uploader.run_once().stored:
            pass
        uploader.close()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.catalog.close()


@pytest.mark.fault("B12", "B31")
def test_copies_that_a_rebuilt_catalog_does_not_name_are_freed(node: Node, tmp_path: Path) -> None:
    """The keeper died before it freed them, and then the catalog was lost. What the store does not have stays."""
    (tmp_path / "anew").mkdir()
    node.catalog.close()
    node.catalog = make_catalog(tmp_path / "anew")
    rebuild(node.catalog, node.store, NODE, WALL_NS // 10**6, "os:test")
    gone = node.recorded[0]
    node.store.delete(gone.segment.object_key)
    node.recover()
    assert {node.row(one).volume for one in node.recorded} == {node.spool.volume_id}
    node.upload()
    assert [one.path.exists() for one in node.recorded] == [True, *[False] * (len(node.recorded) - 1)]
    assert [node.row(one).volume for one in node.recorded[1:]] == [None] * (len(node.recorded) - 1)
    assert node.recover().returned == []


@pytest.mark.fault("B15", "B31")
@pytest.mark.parametrize("state", ["stored", "condemned", "deleting", "deleted"])
def test_the_copy_of_a_segment_that_ends_goes_whatever_its_row_names(node: Node, state: str) -> None:
    one = node.recorded[0]
    node.move(one, state)
    if state == "deleted":
        node.store.delete(one.segment.object_key)
    node.recover()
    node.upload()
    row = node.row(one)
    assert (one.path.exists(), row.state, row.volume) == (False, state, None)


@pytest.mark.fault("B6", "B13")
def test_footage_that_was_given_up_is_spooled_again_when_its_disk_is_back(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, torn, unread = node.recorded[:3]
    torn.path.write_bytes(torn.path.read_bytes()[:-1] + b"?")
    for one in (lost, torn, unread):
        node.store.delete(one.segment.object_key)
        node.move(one, "lost")
        node.catalog.write(lambda c, one=one: damage.mark(c, one.segment, Reason("media.segment_lost"), 1))  # type: ignore[misc]  # a bound default
    # What comes from the journal's tombstone has neither index nor run.
    node.catalog.write(lambda c: c.exec_driver_sql("UPDATE segment SET fragments = x'' WHERE state = 'lost'"))
    examine = salvage_module._examine

    def reads(path: Path) -> tuple[Salvage, int]:
        if path == unread.path:
            raise OSError(errno.EIO, "a bad sector")
        return examine(path)

    monkeypatch.setattr(salvage_module, "_examine", reads)
    assert node.recover().returned == [lost.segment.id]
    row = node.row(lost)
    assert replace(row, state="spooled") == replace(lost.segment, stored_ms=row.stored_ms) and row.state == "spooled"
    assert not node.catalog.read(lambda c: damage.is_marked(c, lost.segment.id))
    (entry,) = node.catalog.read(lambda c: audit.entries(c, action="store.repair"))
    assert entry.details == {"from": "lost", "to": "spooled", "ids": [lost.segment.id]}
    node.upload()
    assert node.row(lost).state == "stored" and node.store.read(row.object_key) and not lost.path.exists()
    # The others may still be of use to somebody until their time is over (`storage.aside`).
    assert [node.row(one).state for one in (torn, unread)] == ["lost", "lost"]
    for one in (torn, unread):
        assert one.path.exists() and node.row(one).volume == node.spool.volume_id
        assert node.catalog.read(lambda c, one=one: damage.is_marked(c, one.segment.id))  # type: ignore[misc]  # as above
    monkeypatch.undo()  # the sector could be read after all
    assert node.recover().returned == [unread.segment.id]
