"""Settings to stores: three purposes that never share a place."""

from __future__ import annotations

from pathlib import Path

from config.settings import build
from storage.objects import make_store
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store


def test_folder_stores_lie_beside_each_other(tmp_path: Path) -> None:
    settings = build({"paths": {"data": str(tmp_path)}})
    stores = [make_store(settings, purpose) for purpose in ("video", "evidence", "cache")]
    roots = [store.root for store in stores if isinstance(store, FolderStore)]
    assert len(set(roots)) == 3
    assert not any(a in b.parents for a in roots for b in roots)
    for number, store in enumerate(stores):
        store.ensure()
        store.put_bytes("a", bytes([number]))
    assert [len(list(store.list())) for store in stores] == [1, 1, 1]


def test_s3_stores_have_a_bucket_each() -> None:
    store = {"kind": "s3", "endpoint": "http://127.0.0.1:9", "access_key": "k", "secret_key": "s"}
    settings = build({"store": store})
    stores = [make_store(settings, purpose) for purpose in ("video", "evidence", "cache")]
    assert [s.bucket for s in stores if isinstance(s, S3Store)] == [
        "tiergate-video",
        "tiergate-evidence",
        "tiergate-cache",
    ]
