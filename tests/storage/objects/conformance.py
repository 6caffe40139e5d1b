"""What every ObjectStore must do; `test_conformance` runs it on the folder and on real S3 servers."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config.errors import Kind, TiergateError
from storage.objects.base import ObjectStore

KEY = "node1/21010000011320000001/2026/09/21/14/1790000000000-01M3250V002TJFQ7RYQ07T4ET1.mp4"
DATA = os.urandom(300_000)


def put(store: ObjectStore, folder: Path, key: str = KEY, data: bytes = DATA) -> Path:
    path = folder / "source.mp4"
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    info = store.put_file(key, path, hashlib.sha256(data).digest(), len(data), {"camera": "1"})
    assert (info.key, info.bytes, info.sha256) == (key, len(data), hashlib.sha256(data).digest())
    return path


def code(caught: pytest.ExceptionInfo[TiergateError]) -> str:
    return caught.value.reason.code


class Conformance:
    """Subclasses give `store`, a new empty one each time."""

    rounds = 1  #: of a race between threads

    def test_what_was_put_reads_back_whole_and_in_ranges(self, store: ObjectStore, tmp_path: Path) -> None:
        put(store, tmp_path)
        assert store.read(KEY) == DATA
        assert store.read(KEY, 1000, 50) == DATA[1000:1050]
        assert store.read(KEY, len(DATA) - 10) == DATA[-10:]
        assert store.read(KEY, len(DATA) - 10, 500) == DATA[-10:]
        assert store.read(KEY, 5, 0) == b""
        assert store.read(KEY, len(DATA) + 5, 10) == b""
        assert b"".join(store.iter_range(KEY, 7)) == DATA[7:]
        told, pieces = store.fetch(KEY)
        assert b"".join(pieces) == DATA
        assert told == store.head(KEY)
        with pytest.raises(TiergateError) as caught:
            store.fetch(KEY.replace("node1", "node2"))
        assert code(caught) == "media.object_missing"

    def test_reading_may_stop_anywhere_and_the_store_goes_on(self, store: ObjectStore, tmp_path: Path) -> None:
        put(store, tmp_path)
        for _ in range(20):
            pieces = store.iter_range(KEY)
            next(pieces)
            pieces.close()  # type: ignore[attr-defined]  # every implementation yields from a generator
        assert store.read(KEY, 0, 4) == DATA[:4]

    def test_head_tells_the_size_and_absence(self, store: ObjectStore, tmp_path: Path) -> None:
        assert store.head(KEY) is None
        put(store, tmp_path)
        found = store.head(KEY)
        assert found is not None
        assert found.bytes == len(DATA)
        assert found.sha256 in (None, hashlib.sha256(DATA).digest())

    def test_the_same_object_again_is_success_and_another_is_refused(self, store: ObjectStore, tmp_path: Path) -> None:
        put(store, tmp_path)
        put(store, tmp_path)
        for other in (b"other", bytes(len(DATA))):
            with pytest.raises(TiergateError) as caught:
                put(store, tmp_path, data=other)
            assert code(caught) == "media.object_exists"
        assert store.read(KEY) == DATA

    def test_bytes_that_are_not_what_the_row_says_are_not_stored(self, store: ObjectStore, tmp_path: Path) -> None:
        path = tmp_path / "source.mp4"
        path.write_bytes(DATA)
        with pytest.raises(TiergateError) as caught:
            store.put_file(KEY, path, hashlib.sha256(b"other").digest(), len(DATA))
        assert code(caught) == "media.object_corrupt"
        assert store.head(KEY) is None

    def test_a_file_shorter_than_its_row_is_not_stored(self, store: ObjectStore, tmp_path: Path) -> None:
        path = tmp_path / "source.mp4"
        path.write_bytes(DATA[:-100])
        with pytest.raises(TiergateError):
            store.put_file(KEY, path, hashlib.sha256(DATA).digest(), len(DATA))
        assert store.head(KEY) is None
        put(store, tmp_path)

    def test_the_source_may_go_when_the_object_is_there(self, store: ObjectStore, tmp_path: Path) -> None:
        put(store, tmp_path).unlink()
        assert store.read(KEY) == DATA

    def test_small_objects_come_from_memory(self, store: ObjectStore) -> None:
        assert store.put_bytes("node1/_catalog/a.json", b"{}").bytes == 2
        store.put_bytes("node1/_catalog/a.json", b"{}")
        with pytest.raises(TiergateError) as caught:
            store.put_bytes("node1/_catalog/a.json", b"[]")
        assert code(caught) == "media.object_exists"
        store.put_bytes("node1/_catalog/empty", b"")
        assert store.read("node1/_catalog/empty") == b""

    def test_deleting_is_final_and_may_be_repeated(self, store: ObjectStore, tmp_path: Path) -> None:
        put(store, tmp_path)
        store.delete(KEY)
        store.delete(KEY)
        assert store.head(KEY) is None
        assert list(store.list()) == []
        with pytest.raises(TiergateError) as caught:
            store.read(KEY)
        assert code(caught) == "media.object_missing"
        assert caught.value.kind is Kind.NOT_FOUND
        put(store, tmp_path)

    def test_many_are_deleted_at_once_and_a_bad_key_keeps_none_of_them(self, store: ObjectStore) -> None:
        keys = [f"n/{number % 7}/{number:04d}" for number in range(1_200)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put_bytes(key, b"1"), [*keys, "n/other", "m/0000"]))
        failed = store.delete_many([*keys[:600], "../n/other", "n/absent", *keys[600:]])
        assert {key: error.reason.code for key, error in failed.items()} == {"../n/other": "media.object_bad_key"}
        assert sorted(info.key for info in store.list()) == ["m/0000", "n/other"]
        assert store.delete_many(keys) == {}
        assert store.delete_many([]) == {}

    def test_a_list_gives_each_key_once_and_goes_on_behind_any(self, store: ObjectStore) -> None:
        keys = ["a/b/c", "a/b-c", "a/b.c", "a/b/cd", "a/b0", "a0", "b/a"]
        for key in keys:
            store.put_bytes(key, b"1")
        found = [info.key for info in store.list()]
        assert sorted(found) == sorted(keys)
        assert sorted(info.key for info in store.list("a/b")) == sorted(k for k in keys if k.startswith("a/b"))
        assert sorted(info.key for info in store.list("a/b/")) == ["a/b/c", "a/b/cd"]
        for position, after in enumerate(found):
            assert [info.key for info in store.list(start_after=after)] == found[position + 1 :]
        assert {info.bytes for info in store.list()} == {1}
        assert list(store.list("nothing/")) == []

    def test_a_long_list_has_every_key_once(self, store: ObjectStore) -> None:
        keys = {f"n/{number:05d}" for number in range(1_050)}
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: store.put_bytes(key, b""), keys))
        found = [info.key for info in store.list("n/")]
        assert len(found) == len(keys)
        assert set(found) == keys

    @pytest.mark.parametrize(
        "key",
        ["", "/", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".hidden", "a/.tiergate-volume", "a b", "a\\b", "a\0b",
         "ä", "a?b", "a%2e%2e/b", "a\n", "-a", "x" * 1000],
    )  # fmt: skip
    def test_a_hostile_key_touches_nothing(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        path = tmp_path / "source.mp4"
        path.write_bytes(b"x")
        digest = hashlib.sha256(b"x").digest()
        attempts: list[Callable[[], object]] = [
            lambda: store.put_file(key, path, digest, 1),
            lambda: store.put_bytes(key, b"x"),
            lambda: store.head(key),
            lambda: store.read(key),
            lambda: list(store.iter_range(key)),
            lambda: store.delete(key),
        ]
        for attempt in attempts:
            with pytest.raises(TiergateError) as caught:
                attempt()
            assert code(caught) == "media.object_bad_key"

    def test_several_threads_may_put_the_same_object(self, store: ObjectStore, tmp_path: Path) -> None:
        """And from the first of them that has returned, it is there for whoever reads."""
        path = tmp_path / "source.mp4"
        path.write_bytes(DATA)
        digest = hashlib.sha256(DATA).digest()
        together = threading.Barrier(6)

        def put(key: str) -> bytes:
            together.wait()
            assert store.put_file(key, path, digest, len(DATA)).sha256 == digest
            return store.read(key)

        with ThreadPoolExecutor(6) as pool:
            for number in range(self.rounds):
                done = [pool.submit(put, f"{KEY}-{number}") for _ in range(6)]
                assert [future.result() == DATA for future in done] == [True] * 6

    def test_ensure_may_be_repeated(self, store: ObjectStore) -> None:
        store.ensure()
        store.ensure()


class FootageConformance(Conformance):
    """What is asked of a store of footage besides."""

    def test_a_list_of_dates_may_begin_behind_a_name_that_is_no_object(self, store: ObjectStore) -> None:
        keys = [f"n/2026/{month}/{day}/{name}.json" for month in ("01", "02") for day in ("01", "03") for name in "135"]
        for key in keys:
            store.put_bytes(key, b"1")
        for after in (
            "2025/12/31/1", "2026/01/01/0", "2026/01/01/2", "2026/01/01/9", "2026/01/02/3", "2026/01/31/3",
            "2026/02/03/4", "2026/02/03/9", "2027/01/01/1",
        ):  # fmt: skip
            start = f"n/{after}.json"
            assert [info.key for info in store.list("n/", start)] == [key for key in keys if key > start], after
