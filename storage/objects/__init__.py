"""Object stores: the contract (`base`), a folder, S3."""

from __future__ import annotations

from typing import Literal, TypeVar

from config.clock import make_clock
from config.settings import Settings
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore, FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.objects.s3_evidence import S3Evidence

Purpose = Literal["video", "evidence", "cache"]
_S3 = TypeVar("_S3", bound=S3Store)


def make_store(settings: Settings, purpose: Purpose = "video") -> ObjectStore:
    """The store of own footage, of held footage, or of the temporary cache. Nothing is touched before `ensure`."""
    if purpose == "evidence":
        return make_evidence_store(settings)
    store = settings.store
    if store.kind == "folder":
        root = settings.store_folder
        # Beside each other on one filesystem, never inside: a listing of one shows nothing of the others.
        return FolderStore(root if purpose == "video" else root.with_name(root.name + "-cache"), name=purpose)
    return _in_bucket(settings, S3Store, store.bucket if purpose == "video" else store.cache_bucket)


def make_evidence_store(settings: Settings) -> EvidenceStore:
    if settings.store.kind == "folder":
        root = settings.store_folder
        return FolderEvidence(settings.paths.evidence_dir or root.with_name(root.name + "-evidence"), name="evidence")
    return _in_bucket(settings, S3Evidence, settings.store.evidence_bucket)


def _in_bucket(settings: Settings, kind: type[_S3], bucket: str) -> _S3:
    store = settings.store
    return kind(
        endpoint=str(store.endpoint),
        region=store.region,
        bucket=bucket,
        access_key=store.access_key,
        secret_key=store.secret_key,
        ca_file=store.ca_file,
        connections=store.upload_workers + 4,
        clock=make_clock(settings),
    )
