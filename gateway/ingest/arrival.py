"""The wall time of access units: arrival on our clock, smoothed. (pure)

A camera's own idea of the time is not to be trusted (years off, no zone, no NTP), the moment at which bytes reach us
is: it is late by the network's delay, which is never negative and mostly small. So the smallest delay seen lately is
the best estimate of where the camera's media clock stands against ours (the minimum-delay filter of RFC 5905 §10).

The estimate moves with at most `SLEW` of elapsed media time, so that a timeline shows no steps when a link is
congested, yet follows a crystal that drifts (real cameras: ≤ 200 ppm). At the beginning it may fall at once, until no
better has come for `SETTLE_NS`: servers send the frames since their last key frame, or some seconds of pre-roll, in a
burst, all but the last of them late. Beyond `STEP_NS` it jumps: then a clock was set, not drifting.
"""

from __future__ import annotations

_NS = 1_000_000_000

SLEW = 500e-6  #: moved per elapsed media time
SETTLE_NS = 1 * _NS
STEP_NS = 2 * _NS
_BUCKET_NS = 1 * _NS
_BUCKETS = 10  #: delays of the last 10 s count
#: A new best that is better by more than this says that the beginning is not over.
_BETTER_NS = 5_000_000


class ArrivalClock:
    """State of one track within one epoch."""

    __slots__ = (
        "_best", "_bucket", "_bucket_start", "_buckets", "_last_media", "_last_wall", "_mins", "_offset", "_settling",
        "_slew",
    )  # fmt: skip

    def __init__(self, slew: float = SLEW, buckets: int = _BUCKETS) -> None:
        self._slew, self._buckets = slew, buckets
        self._offset: int | None = None  #: wall - media, in force
        self._last_media = self._last_wall = 0
        self._settling = 0  #: arrival of the last great improvement of the beginning
        self._mins: list[int] = []  #: smallest offset of each past bucket
        self._best = 0  #: min(self._mins), or the bucket's own
        self._bucket = 0
        self._bucket_start = 0

    def observe(self, media_ns: int, arrival_ns: int) -> int:
        """The wall time of the unit with media time `media_ns` that arrived at `arrival_ns`; never goes back."""
        seen = arrival_ns - media_ns
        offset = self._offset
        if offset is None:
            self._restart(seen, media_ns, arrival_ns)
            self._settling = arrival_ns
            offset = seen
        else:
            if arrival_ns - self._bucket_start >= _BUCKET_NS or arrival_ns < self._bucket_start:
                self._mins = [*self._mins[1 - self._buckets :], self._bucket]
                self._best = min(self._mins)
                self._bucket, self._bucket_start = seen, arrival_ns
            elif seen < self._bucket:
                self._bucket = seen
            target = self._bucket if self._bucket < self._best or not self._mins else self._best
            elapsed = media_ns - self._last_media
            beginning = arrival_ns - self._settling <= SETTLE_NS
            if (seen < offset - STEP_NS and not beginning) or target > offset + STEP_NS:
                self._restart(seen, media_ns, arrival_ns)
                offset = seen
            elif target < offset and beginning:
                if offset - target > _BETTER_NS:
                    self._settling = arrival_ns
                offset = target
            elif elapsed > 0:
                room = int(elapsed * self._slew)
                offset += max(-room, min(room, target - offset))
        self._offset = offset
        if media_ns > self._last_media:
            self._last_media = media_ns
        wall = media_ns + offset
        if wall <= self._last_wall and self._last_wall - wall < STEP_NS:
            wall = self._last_wall + 1
        self._last_wall = wall
        return wall

    def at(self, media_ns: int) -> int:
        """The wall time of a unit by what is known now: better than what `observe` said of the first ones."""
        return media_ns + (self._offset or 0)

    def redate(self) -> None:
        """Units so far are dated anew by `at`: what follows need not wait until it has passed their first dates."""
        self._last_wall = self.at(self._last_media)

    def _restart(self, seen: int, media_ns: int, arrival_ns: int) -> None:
        self._mins = []
        self._best = self._bucket = seen
        self._bucket_start = arrival_ns
        self._last_media = media_ns
