"""Sound on the picture's timeline: the decode times of audio units, bound to those of the pictures. (pure)

The two tracks of a camera have clocks of their own. They start anywhere, a cheap sound chip runs 1 % wrong, and RTCP
reports, where there are any, arrive after seconds and make libav's times jump. What both have in common is the moment
at which they reach us: sound that arrives together with a picture was taken together with it, give or take what the
camera needs to encode. So sound stands where its arrival says, smoothed so that no sample moves audibly: within
`NEAR_S` of that nothing is touched and a unit is as long as its samples; beyond, each unit gives or takes a thirtieth
of itself.

Belongs here: that placing. Does not belong here: the wall time of pictures (`gateway.ingest.arrival`).
"""

from __future__ import annotations

from gateway.ingest.arrival import ArrivalClock
from storage.media.access_unit import VIDEO_TIMESCALE

_NS = 1_000_000_000

NEAR_S = 0.02
#: Further than this sound is put where it belongs at once: its clock has jumped, or the picture's has.
FAR_S = 0.25
#: A step of its own clock beyond the samples that came: not one clock any more.
_BREAK_S = 0.1
#: Sound chips are worse than the crystals of pictures, and nobody sees the correction.
_SLEW, _BUCKETS = 0.02, 3
_GIVE = 30


class SoundClock:
    """State of one audio track of one session."""

    def __init__(self, timescale: int) -> None:
        self._rate = timescale
        self._arrival = ArrivalClock(_SLEW, _BUCKETS)
        self._expected: int | None = None  #: raw time of the next unit if nothing is missing
        self._offset = 0  #: placed - raw
        self._last = -1
        self._picture: tuple[int, int] | None = None
        self.dropped = 0  #: units for whose time there was sound already, or no picture yet
        self.anchored = 0  #: times that the track was put in place at once

    def picture(self, dts: int, wall_ns: int) -> None:
        """The newest picture, in video ticks."""
        self._picture = (dts, wall_ns)

    def new_epoch(self) -> None:
        """Pictures count anew."""
        self._picture = None
        self._expected = None
        self._last = -1

    def place(self, raw: int, duration: int, arrival_ns: int) -> int | None:
        """Decode time of a unit in audio ticks, strictly increasing within an epoch; None when it has no place."""
        if self._picture is None:
            self.dropped += 1
            return None
        rate = self._rate
        anew = self._expected is None or abs(raw - self._expected) > _BREAK_S * rate
        if anew:
            self._arrival = ArrivalClock(_SLEW, _BUCKETS)
        self._expected = raw + duration
        wall_ns = self._arrival.observe(raw * _NS // rate, arrival_ns)
        picture_dts, picture_ns = self._picture
        target = picture_dts * rate // VIDEO_TIMESCALE + (wall_ns - picture_ns) * rate // _NS
        error = target - raw - self._offset
        if anew or abs(error) > FAR_S * rate:
            self._offset += error
            self.anchored += 1
        elif abs(error) > NEAR_S * rate:
            room = max(1, duration // _GIVE)
            self._offset += max(-room, min(room, error))
        time = raw + self._offset
        if time < 0 or time <= self._last:
            self.dropped += 1
            return None
        self._last = time
        return time
