"""The spool volumes of a recorder, as tests of its parts need them."""

from __future__ import annotations

from config.settings import Spool as SpoolSettings
from gateway.ingest.admission import Admission
from gateway.ingest.volumes import Volume, Volumes
from gateway.ingest.writer import WriterPool
from storage.spool import Spool, SyncGroup


def roomy() -> Admission:
    """A disk that is half empty for ever."""
    return Admission(SpoolSettings(min_free_percent=0, critical_free_percent=0), lambda: 50.0)


def one_volume(
    spool: Spool, writers: WriterPool, group: SyncGroup | None = None, admission: Admission | None = None
) -> Volumes:
    spool.prepare()
    return Volumes([Volume(spool, group or SyncGroup(800), writers, admission or roomy())])
