"""The recorder's one way into the catalog: changes in order, many in one transaction, acknowledged after the commit.

A recorder of 32 cameras seals a segment every two seconds and learns something every few hundred milliseconds; each in
a transaction of its own would hold the lock that five processes share. So changes wait `interval_s` and go together. A
catalog that is away loses nothing: changes wait in memory, sealed files are adopted at the next start anyway (DESIGN
§6). Where nobody can say whether a COMMIT was done, its changes are made again: each must stand once all the same, by
its id. Dropped, and loudly, is only what the catalog will never take.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

from sqlalchemy import Connection

from config.clock import Deadline
from storage.catalog.engine import CHUNK_ROWS, Catalog, never_fits

_log = logging.getLogger(__name__)

Change = Callable[[Connection], object]
_Entry = tuple[Change, Callable[[], None] | None]

_RETRY_S = 1.0
#: Changes kept while the catalog is away: about a day of a full recorder. Older ones then go, loudly.
_WAITING_MAX = 200_000


class Ledger:
    """`put` from any thread; never blocks. `dropped` counts the changes that never came into the catalog."""

    dropped = 0

    def __init__(self, catalog: Catalog, interval_s: float = 0.2) -> None:
        self._catalog = catalog
        self._interval_s = interval_s
        self._waiting: deque[_Entry] = deque()
        self._wake = threading.Condition()
        self._hurry = False
        self._closed = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self._thread.start()

    def put(self, change: Change, then: Callable[[], None] | None = None) -> None:
        """`then` runs after the commit that holds `change`, in the ledger's thread."""
        with self._wake:
            if len(self._waiting) >= _WAITING_MAX:
                self._waiting.popleft()
                self.dropped += 1
                _log.error("the catalog has been away too long; a change is lost and will be salvaged from files")
            self._waiting.append((change, then))
            self._wake.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """True when everything put before is committed."""
        deadline = Deadline(timeout_s)
        with self._wake:
            self._hurry = True
            self._wake.notify_all()
            while self._waiting or self._busy:
                if deadline.passed or not self._thread.is_alive():
                    return False
                self._wake.wait(deadline.left_s)
        return True

    def close(self, timeout_s: float = 3.0) -> bool:
        done = self.flush(timeout_s)
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join(timeout_s)
        return done

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed:
                    self._hurry = False
                    self._wake.wait()
                if self._closed:
                    return
                if not self._hurry:
                    self._wake.wait_for(lambda: self._hurry or self._closed, self._interval_s)
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), CHUNK_ROWS))]
                self._busy = True
            left = self._commit(batch)
            with self._wake:
                self._busy = False
                if left and not self._closed:
                    self._waiting.extendleft(reversed(left))
                    self._wake.wait_for(lambda: self._closed, _RETRY_S)
                self._wake.notify_all()

    def _commit(self, batch: list[_Entry]) -> list[_Entry]:
        """What must wait because the catalog takes nothing now, in order."""
        try:
            self._catalog.write(lambda connection: [change(connection) for change, _ in batch])
        except Exception as error:
            if not never_fits(error):
                problem = type(getattr(error, "orig", error)).__name__
                _log.warning("the catalog does not take writes; they wait", extra={"problem": problem})
                return batch
            if len(batch) == 1:
                _log.exception("a change does not fit the catalog and is dropped")
                with self._wake:
                    self.dropped += 1
                return []
            # One bad change must not take the others with it.
            for at, one in enumerate(batch):
                if self._commit([one]):
                    return batch[at:]
            return []
        for _, then in batch:
            if then is not None:
                try:
                    then()
                except Exception:
                    _log.exception("after a commit")
        return []
