"""ONVIF Profile G, as far as it is needed to ask a recorder what it has: recording search and replay URLs.

The recording search service lists recordings with the oldest and newest picture of their tracks; the recording control
service, where there is one, says which media profile each records.

Belongs here: those calls, their answers as frozen values. Does not belong here: the connection
(`gateway.cameras.onvif`), replay itself (`gateway.cameras.replay`), which recording is whose and what an answer is
worth (`gateway.cameras.owner_answers`).
"""

from __future__ import annotations

import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from config.errors import Kind, TiergateError
from gateway.cameras.onvif import OnvifDevice
from gateway.cameras.owner_answers import Recording

_log = logging.getLogger(__name__)

SEARCH = "http://www.onvif.org/ver10/search/wsdl"
REPLAY = "http://www.onvif.org/ver10/replay/wsdl"
RECORDING = "http://www.onvif.org/ver10/recording/wsdl"
#: A search is looked at again so often; a recorder of 64 channels answers in two or three pieces.
_MOST_ANSWERS = 10
_MOST_RECORDINGS = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def recordings(device: OnvifDevice) -> list[Recording]:
    """All that it has. Raises camera.no_recordings when it does not offer to search, camera.owner_search_unfinished
    when it comes to no end (what the list lacks may be the camera's), and like `onvif.connect`."""
    if not device.offers(SEARCH):
        raise TiergateError(Kind.UNAVAILABLE, "camera.no_recordings", address=device.address)
    service = await device.service("search")
    token = await service.FindRecordings({"Scope": {}, "KeepAliveTime": timedelta(seconds=30)})
    found: dict[str, Recording] = {}
    try:
        for _ in range(_MOST_ANSWERS):
            answer = await service.GetRecordingSearchResults(
                {"SearchToken": token, "MinResults": 1, "MaxResults": 100, "WaitTime": timedelta(seconds=2)}
            )
            for item in answer.RecordingInformation or []:
                found[str(item.RecordingToken)] = _recording(item)
            if str(answer.SearchState) == "Completed":
                return list(found.values())
            if len(found) > _MOST_RECORDINGS:
                break
    finally:
        with contextlib.suppress(Exception):  # many end a search with its last answer, and then know it no more
            await service.EndSearch({"SearchToken": token})
    raise TiergateError(Kind.UNAVAILABLE, "camera.owner_search_unfinished", address=device.address)


def _recording(item: Any) -> Recording:
    tracks = [_span(t.DataFrom, t.DataTo) for t in item.Track or [] if str(t.TrackType) == "Video"]
    whole = _span(item.EarliestRecording, item.LatestRecording)
    spans = tuple(span for span in tracks if span is not None) or ((whole,) if whole is not None else ())
    return Recording(str(item.RecordingToken), str(item.Source.SourceId if item.Source else ""), spans)


def _span(start: datetime | None, end: datetime | None) -> tuple[int, int] | None:
    return None if start is None or end is None else (_ms(start), _ms(end))


def _ms(value: datetime) -> int:
    """xs:dateTime without a zone is UTC (ONVIF Core, 'Date and time')."""
    return ((value if value.tzinfo else value.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


async def recorded_profiles(device: OnvifDevice) -> dict[str, set[str]]:
    """By recording: tokens of the media profiles, or other sources, that it records. Empty when it does not say."""
    if not device.offers(RECORDING):
        return {}
    service = await device.service("recording")
    found: dict[str, set[str]] = {}
    try:
        jobs = await service.GetRecordingJobs() or []
    except Exception as error:  # the service is optional, and so, on some devices, is every call of it
        _log.info("a recorder does not tell its jobs", extra={"error": type(error).__name__})
        return {}
    for job in jobs:
        wanted = job.JobConfiguration
        for source in wanted.Source or []:
            if source.SourceToken is not None:
                found.setdefault(str(wanted.RecordingToken), set()).add(str(source.SourceToken.Token))
    return found


async def replay_url(device: OnvifDevice, recording: Recording) -> str | None:
    """As the device says it: its host is checked before it is used. None: it does not offer replay."""
    if not device.offers(REPLAY):
        return None
    service = await device.service("replay")
    setup = {"Stream": "RTP-Unicast", "Transport": {"Protocol": "RTSP"}}
    return str(await service.GetReplayUri({"StreamSetup": setup, "RecordingToken": recording.token}))
