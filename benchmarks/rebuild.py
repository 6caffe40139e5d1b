"""A lost catalog made anew: objects a second, on a folder store and on a real S3 server; and every row compared.

The objects are whole segments of about 64 kB, so that the cost of an object is measured and not that of a disk: with
segments of 30 MB the disk or the network says how long it takes, and MB/s is the number to look at.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._box import options, report
from config.redact import Secret
from storage.objects.base import ObjectStore
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from tests.parts.s3 import SeaweedFS
from tests.storage.footage import make_catalog
from tests.storage.test_rebuild import loss_of


def _round(folder: Path, store: ObjectStore, objects: int) -> dict[str, Any]:
    (folder / "anew").mkdir(parents=True)
    anew = make_catalog(folder / "anew")
    try:
        return loss_of(folder, store, anew, objects).as_json()
    finally:
        anew.close()


def main() -> int:
    chosen = options("rebuild", __doc__ or "").parse_args()
    objects = 2_000 if chosen.quick else 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = FolderStore(Path(name) / "objects")
        folder.ensure()
        on_folder = _round(Path(name) / "folder", folder, objects)
    with tempfile.TemporaryDirectory() as name, SeaweedFS() as server:
        bucket = server.new_bucket()
        s3 = S3Store(server.url, server.region, bucket, Secret(server.access_key), Secret(server.secret_key))
        on_s3 = _round(Path(name), s3, objects // 4)
    # Bars of `report` are upper ones: milliseconds an object, 2.0 being 500 a second.
    bars = {
        "folder, ms per object": (1_000 / on_folder["objects_per_s"], 2.0),
        "S3, ms per object": (1_000 / on_s3["objects_per_s"], 2.0),
    }
    return report("rebuild", {"folder": on_folder, "s3": on_s3}, bars, chosen.json)


if __name__ == "__main__":
    sys.exit(main())
