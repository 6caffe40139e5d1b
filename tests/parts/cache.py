"""Where things are kept that are made once: clips, the MinIO binary. The same place as cache_dir in scripts/_lib.sh."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    named = os.environ.get("TIERGATE_CACHE")
    first = Path(named or "/var/cache/tiergate")
    try:
        first.mkdir(parents=True, exist_ok=True)
        if os.access(first, os.W_OK):
            return first
    except OSError:
        pass
    if named:
        raise RuntimeError(f"TIERGATE_CACHE={named} cannot be written")
    second = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiergate"
    second.mkdir(parents=True, exist_ok=True)
    return second
