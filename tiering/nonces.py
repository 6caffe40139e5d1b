"""Which request nonces have been taken: the one piece of memory behind `tiering.signing`.

Belongs here: the journal and its file. Does not belong here: what a signature covers.
"""

from __future__ import annotations

from pathlib import Path

from config.errors import Kind, TiergateError
from tiering.signing import SKEW_MS


class NonceJournal:
    """Nonces seen in the last minute, in memory and in a small file: a restart does not open the door to a replay.

    The file is written before the request is answered and not synced: it must survive a kill, and after a power loss
    the machine is back later than the 30 s for which a request is good.
    """

    def __init__(self, path: Path, now_ms: int) -> None:
        self._path = path
        self._seen: dict[str, int] = {}
        if path.exists():
            for line in path.read_text(encoding="ascii", errors="replace").splitlines():
                time_ms, _, nonce = line.partition(" ")
                if time_ms.isdigit() and nonce:
                    self._seen[nonce] = int(time_ms)
        self._lines = 0
        self._rewrite(now_ms)

    def take(self, node: str, nonce: str, time_ms: int, now_ms: int) -> None:
        """Raises tier.replayed when `nonce` was taken before."""
        name = f"{node}:{nonce}"
        if name in self._seen:
            raise TiergateError(Kind.UNAUTHENTICATED, "tier.replayed")
        self._seen[name] = time_ms
        with self._path.open("a", encoding="ascii") as file:
            file.write(f"{time_ms} {name}\n")
        self._lines += 1
        if self._lines > self._rewrite_at:
            self._rewrite(now_ms)

    def _rewrite(self, now_ms: int) -> None:
        self._seen = {n: t for n, t in self._seen.items() if t >= now_ms - 2 * SKEW_MS}
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{t} {n}\n" for n, t in self._seen.items()), encoding="ascii")
        fresh.replace(self._path)
        self._lines = len(self._seen)
        self._rewrite_at = max(20_000, 2 * self._lines)  # a rewrite never comes before as many calls as it has lines
