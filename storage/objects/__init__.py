"""Object stores: the contract (`base`), a folder, S3."""

from __future__ import annotations

from typing import Literal

from config.clock import make_clock
from config.settings import Settings
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store

Purpose = Literal["video", "evidence", "cache"]


def make_store(settings: Settings, purpose: Purpose = "video") -> ObjectStore:
    """The store of own footage, of held footage, or of the temporary cache. Nothing is touched before `ensure`."""
    store = settings.store
    if store.kind == "folder":
        root = settings.store_folder
        # Beside each other on one filesystem, never inside: a listing of one shows nothing of the others.
        roots = {
            "video": root,
            "evidence": root.with_name(root.name + "-evidence"),
            "cache": root.with_name(root.name + "-cache"),
        }
        return FolderStore(roots[purpose], name=purpose)
    buckets = {"video": store.bucket, "evidence": store.evidence_bucket, "cache": store.cache_bucket}
    return S3Store(
        endpoint=str(store.endpoint),
        region=store.region,
        bucket=buckets[purpose],
        access_key=store.access_key,
        secret_key=store.secret_key,
        ca_file=store.ca_file,
        connections=store.upload_workers + 4,
        object_lock=purpose == "evidence",
        clock=make_clock(settings),
    )
