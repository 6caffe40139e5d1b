"""On a recorder's path: a camera whose address says "poison" makes the library crash as a broken one would."""

import ctypes

from gateway.ingest.libav_source import LibavSource

_open = LibavSource.open


def _crashing(self: LibavSource) -> None:
    if "poison" in self._address.url:
        ctypes.string_at(0)
    _open(self)


LibavSource.open = _crashing  # type: ignore[method-assign]  # on purpose: this is the broken library
