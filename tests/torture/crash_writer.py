"""A recorder and keeper in small, to be killed: writes, seals, registers, acknowledges, uploads, for ever.

usage: crash_writer.py FOLDER right|row_first. Each line on standard input forks one writer and prints its pid; the
writer ends when we do. ``row_first`` is the known-bad twin: it registers a segment before its bytes are on the disk.
An acknowledgement is the segment's id in FOLDER/acknowledged, synced, written after the row's commit.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from pathlib import Path

from sqlalchemy import Connection

from config.clock import SystemClock
from storage import rows
from storage.catalog import segments
from storage.catalog.engine import Catalog
from storage.objects.folder import FolderStore
from storage.salvage import recover
from storage.segmenter import CloseSegment, OpenSegment, Write
from storage.spool import Spool, SyncGroup
from storage.uploader import Uploader
from tests.storage.footage import CAMERA, NODE, commands


class Writer:
    def __init__(self, folder: Path, order: str) -> None:
        self._row_first = order == "row_first"
        self._catalog = Catalog(f"sqlite:///{folder / 'catalog.db'}")
        self._spool = Spool(folder / "spool", SystemClock(), NODE)
        store = FolderStore(folder / "objects")
        self._uploader = Uploader(self._catalog, store, self._spool, SystemClock(), workers=2)
        self._syncs = SyncGroup(20)
        self._acknowledged = os.open(folder / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def run(self, parent: int) -> None:
        recover(self._catalog, self._spool, self._spool.cameras())
        self._syncs.start()
        number = 0
        while os.getppid() == parent:
            number += 1
            self._record(list(commands(2.0, wall_ns=time.time_ns())))
            if number % 3 == 0:
                self._uploader.run_once()

    def _record(self, orders: list[OpenSegment | Write | CloseSegment]) -> None:
        pieces: list[OpenSegment | Write] = []
        for order in orders:
            if not isinstance(order, CloseSegment):
                pieces.append(order)
                continue
            opened = pieces[0]
            assert isinstance(opened, OpenSegment)
            data = [opened.init, *(piece.data for piece in pieces[1:] if isinstance(piece, Write))]
            if self._row_first:
                whole = b"".join([*data, order.index])
                self._register(opened, order, len(whole), hashlib.sha256(whole).digest())
            part = self._spool.create(CAMERA, opened.segment_id)
            self._syncs.add(part)
            for block in data:
                part.append(block)
            sealed = part.seal(order.index)
            self._syncs.discard(part)
            if not self._row_first:
                self._register(opened, order, sealed.bytes, sealed.sha256)
            pieces = []

    def _register(self, opened: OpenSegment, closed: CloseSegment, size: int, digest: bytes) -> None:
        row = rows.segment_row(opened, closed, size, digest, self._spool.volume_id, time.time_ns() // 10**6)
        run = rows.run_row(opened)

        def write(connection: Connection) -> None:
            segments.insert_run(connection, run)
            segments.insert_segments(connection, [row])

        self._catalog.write(write)
        os.write(self._acknowledged, (row.id + "\n").encode())
        os.fsync(self._acknowledged)


def main() -> None:
    folder, order = Path(sys.argv[1]), sys.argv[2]
    list(commands(2.0))  # the encoder's work is done once, before the forks
    for _ in sys.stdin:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            Writer(folder, order).run(parent)
            os._exit(0)
        print(pid, flush=True)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
