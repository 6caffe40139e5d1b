"""What an owner's recorder showed of one instant, as a verdict with its reason. (pure)

``present`` needs video that is stamped with the time asked for. ``absent`` needs an answer that rules it out: the
instant lies outside what the recorder lists, it refuses the range, or video of another time comes, or none. Everything
else is ``unknown``: a recorder that cannot be asked has not been shown to keep anything.

Belongs here: the rule, and which of a recorder's recordings is a camera's. Does not belong here: asking
(`gateway.cameras.owner_recorder`), the second ask (`storage.sampled`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from config.reasons import Reason
from config.units import format_time_ms
from gateway.cameras.replay import ASKED_MS, Replayed
from storage.sampled import Verdict

#: Replay begins at the key frame before the instant; cameras with long groups of pictures send one each 10 to 20 s.
BEFORE_MS = 30_000
#: A recorder that has nothing at the instant itself begins where it has something again.
AFTER_MS = ASKED_MS
#: RFC 2326 §11: refusals that are about the range, not about who asks or how busy the recorder is.
_NO_RANGE = frozenset({404, 410, 457})

Answer = tuple[Verdict, Reason]


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording of a recorder. Times in the recorder's clock."""

    token: str
    source_id: str
    spans_ms: tuple[tuple[int, int], ...]  #: oldest and newest picture of each video track, else of the recording

    def reaches(self, at_ms: int) -> bool:
        """Whether the instant lies between oldest and newest: not whether anything in between is missing."""
        return any(start <= at_ms < end for start, end in self.spans_ms)


def choose(
    known: Sequence[Recording], jobs: Mapping[str, set[str]], profiles: Iterable[str], sources: Iterable[str]
) -> Recording | None:
    """The camera's recording: the only one there is; else the one whose job records one of its media `profiles`; else
    the one that names a profile or its video source as `SourceId`. None: that cannot be told, and another channel's
    footage proves nothing."""
    if len(known) == 1:
        return known[0]
    own = set(profiles) - {""}
    by_job = [one for one in known if jobs.get(one.token, set()) & own]
    named = own | (set(sources) - {""})
    by_name = [one for one in known if one.source_id in named]
    for found in (by_job, by_name):
        if len(found) == 1:
            return found[0]
        if found:
            return None
    return None


def listed(recording: Recording, at_ms: int, offset_ms: int) -> Answer | None:
    """None: the list does not speak against it. `at_ms`: true time; `offset_ms`: the recorder's clock minus ours."""
    if recording.reaches(at_ms + offset_ms):
        return None
    if not recording.spans_ms:
        return "absent", Reason("camera.owner_lists_nothing")
    oldest = min(start for start, _ in recording.spans_ms) - offset_ms
    newest = max(end for _, end in recording.spans_ms) - offset_ms
    shown = {"from": format_time_ms(oldest, local=True), "to": format_time_ms(newest, local=True)}
    return "absent", Reason("camera.owner_lists", shown)


def replayed(found: Replayed, at_ms: int, offset_ms: int, *, answered: bool) -> Answer:
    """`answered`: the line stood to the end; False: it broke, or an answer did not come in time."""
    if found.status is None:
        return "unknown", Reason("camera.owner_replay_silent")
    if found.cleartext:
        return "unknown", Reason("camera.owner_replay_cleartext")
    if found.status in (401, 403):
        return "unknown", Reason("camera.bad_login")
    if found.method == "PLAY" and found.status in _NO_RANGE:
        return "absent", Reason("camera.owner_replay_range", {"status": found.status})
    if found.status != 200:
        return "unknown", Reason("camera.owner_replay_refused", {"method": found.method, "status": found.status})
    if not found.video:
        return "unknown", Reason("camera.owner_replay_no_video")
    if not found.packets and not answered:
        return "unknown", Reason("camera.owner_replay_silent")
    if not found.packets:
        return "absent", Reason("camera.owner_replay_nothing")
    if found.first_ms is None:
        return "unknown", Reason("camera.owner_replay_unstamped")
    off_ms = found.first_ms - (at_ms + offset_ms)
    if -BEFORE_MS <= off_ms <= AFTER_MS:
        return "present", Reason("camera.owner_replay_present", {"bytes": found.media_bytes})
    shown = format_time_ms(found.first_ms - offset_ms, local=True)
    return "absent", Reason("camera.owner_replay_elsewhere", {"at": shown})
