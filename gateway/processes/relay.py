"""The relay: both ends of every link. A crash costs pulls their pictures for a moment, and never a recorded second."""

from __future__ import annotations

import asyncio
import logging

from config.errors import TiergateError
from gateway.processes import child
from gateway.relay.compose import RelayParts, build_relay

_log = logging.getLogger(__name__)


async def _ensure_cache(parts: RelayParts) -> None:
    """The cache may be away (S3 stopped): live pulls work without it, recorded ones say so."""
    try:
        await asyncio.to_thread(parts.service.ensure_cache)
    except TiergateError as error:
        _log.warning("the cache store is not there", extra={"code": error.reason.code})


async def run(process: child.Child) -> None:
    parts = build_relay(process.settings, process.listener())
    try:
        await _ensure_cache(parts)
        async with parts.running():
            process.ready()
            await process.stopping.wait()
    finally:
        parts.catalog.close()


if __name__ == "__main__":
    child.main("relay", run)
