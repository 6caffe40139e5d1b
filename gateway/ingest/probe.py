"""Opens a stream once to learn what it is: for `camera probe` and `camera add`. Records nothing."""

from __future__ import annotations

from config.clock import make_clock
from config.errors import Kind, TiergateError
from config.redact import Secret
from config.settings import Settings
from gateway.ingest.libav_source import LibavSource
from gateway.ingest.source import SourceError, StreamAddress
from storage.media.access_unit import StreamConfig


def probe(settings: Settings, url: str, username: str | None, password: Secret | None) -> StreamConfig:
    """The stream's parameters. Blocks for seconds: call it in a thread. Raises the `camera.…` reason of what failed."""
    address = StreamAddress(url, username, password)
    source = LibavSource(
        address,
        settings.cameras.allowed_networks,
        make_clock(settings),
        read_timeout_s=settings.cameras.connect_timeout_s,
    )
    try:
        source.open()
        for item in source:
            if isinstance(item, StreamConfig):
                return item
        raise TiergateError(Kind.UNAVAILABLE, "camera.ended")
    except SourceError as error:
        raise TiergateError(Kind.INVALID, error.reason.code, **error.reason.params) from error
    finally:
        source.close()
