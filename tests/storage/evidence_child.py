"""A pass over second copies in a process of its own that is killed at a named point. Run by test_evidence."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from config.clock import ManualClock
from config.redact import Secret
from storage.catalog.engine import Catalog
from storage.damage import Mender
from storage.evidence import EvidenceKeeper
from storage.objects.base import ObjectStore
from storage.objects.evidence import EvidenceStore, FolderEvidence
from storage.objects.folder import FolderStore
from storage.objects.s3 import S3Store
from storage.objects.s3_evidence import S3Evidence
from tests.storage.footage import NODE, make_spool

#: Where it dies: before and after each call of the evidence store that changes something.
POINTS = ("before copy_from", "after copy_from", "before lock", "after lock", "after delete_version")


class Deadly:
    """The evidence store; the process dies at the second time that a point is passed."""

    def __init__(self, real: EvidenceStore, point: str) -> None:
        self._real = real
        self._when, self._name = point.split()
        self._passed = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name != self._name:
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._pass("before")
            answer = found(*args, **more)
            self._pass("after")
            return answer

        return call

    def _pass(self, when: str) -> None:
        self._passed += when == self._when
        if when == self._when and self._passed == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def stores(where: dict[str, str], folder: Path) -> tuple[ObjectStore, EvidenceStore]:
    if "endpoint" not in where:
        return FolderStore(folder / "objects"), FolderEvidence(folder / "objects-evidence")
    keys = Secret(where["access_key"]), Secret(where["secret_key"])
    at = where["endpoint"], where["region"]
    return S3Store(*at, where["bucket"], *keys), S3Evidence(*at, where["evidence_bucket"], *keys)


def main() -> None:
    folder, point, now_ns = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    store, evidence = stores(json.loads(sys.stdin.read()), folder)
    deadly: Any = Deadly(evidence, point)
    catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
    mender = Mender(catalog, store, make_spool(folder), "test", [deadly])
    EvidenceKeeper(catalog, store, deadly, ManualClock(now_ns), mender, lambda: True, NODE).run()


if __name__ == "__main__":
    main()
