"""Object keys: made and read by one rule; a rebuilt catalog must recognise exactly its own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import TiergateError
from config.ids import ulid
from storage.keys import SegmentKey, parse_segment_key, segment_key
from storage.objects.base import check_key
from storage.objects.folder import FolderStore

ID = ulid(1_790_000_000_000, bytes(10))


def test_a_key_names_the_hour_in_utc() -> None:
    key = segment_key("node1", "21010000011320000001", 1_790_000_000_000, ID)
    assert key == f"node1/21010000011320000001/2026/09/21/14/1790000000000-{ID}.mp4"


@pytest.mark.fault("B28")
@given(st.integers(0, 253_402_300_799_999), st.binary(min_size=10, max_size=10))
def test_what_was_made_is_read_back_and_admitted(start_ms: int, entropy: bytes) -> None:
    id_ = ulid(start_ms, entropy)
    key = check_key(segment_key("0123456789abcdef", "21010000011320000001", start_ms, id_))
    assert parse_segment_key(key) == SegmentKey("0123456789abcdef", "21010000011320000001", start_ms, id_)


@pytest.mark.parametrize(
    "key",
    [
        "",
        f"node1/21010000011320000001/2026/09/21/15/1790000000000-{ID}.mp4",  # another hour
        f"node1/21010000011320000001/2026/09/21/14/1790000000000-{ID}.part",
        f"node1/../2026/09/21/14/1790000000000-{ID}.mp4",
        f"node1/21010000011320000001/2026/09/21/14/1790000000000-{'I' * 26}.mp4",
        f"node1/21010000011320000001/2026/09/21/14/01790000000000-{ID}.mp4",
        f"node1/21010000011320000001/2026/09/21/14/{'9' * 400}-{ID}.mp4",
        f"node1/21010000011320000001/9999/12/31/23/253402300800000-{ID}.mp4",  # no date is so late
        "node1/_catalog/checkpoints/1.json",
    ],
)
def test_other_keys_are_not_segments(key: str) -> None:
    assert parse_segment_key(key) is None


@pytest.mark.fault("B28")
def test_a_key_is_never_used_for_other_bytes(tmp_path: Path) -> None:
    """Not by a clock that stands still or goes back, not after a deletion, and not over what is there."""
    rng = random.Random(1)
    made = {
        segment_key("node1", "21010000011320000001", start_ms, ulid(start_ms, rng.randbytes(10)))
        for start_ms in [1_790_000_000_000] * 2_000 + [1_790_000_000_000 - step for step in range(2_000)]
    }
    assert len(made) == 4_000
    store = FolderStore(tmp_path / "objects")
    store.ensure()
    key = made.pop()
    store.put_bytes(key, b"first")
    with pytest.raises(TiergateError) as caught:
        store.put_bytes(key, b"other")
    assert caught.value.reason.code == "media.object_exists"
    assert store.read(key) == b"first"
