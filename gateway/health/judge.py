"""Black and frozen pictures, judged from key frames. (pure)

Belongs here: the verdict on a handful of samples. Does not belong here: taking them (`gateway.health.checker`),
decoding. Nothing about what a picture shows is computed or kept: mean, spread and difference of a 320 x 180 luma
picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from config.reasons import Reason

BLACK_MEAN = 16.0  #: of full-range luma; a lens cap or a dead sensor stays under it
BLACK_SPREAD = 5.0  #: a night scene with one lamp has more
BLACK_SAMPLES = 2
FROZEN_DIFFERENCE = 0.3  #: mean absolute difference; the noise of a live sensor gives more, even at night
FROZEN_MS = 10_000
FROZEN_SAMPLES = 3
HISTORY = 16  #: samples worth keeping


class Verdict(Enum):
    OK = "ok"
    BLACK = "black"
    FROZEN = "frozen"


@dataclass(frozen=True, slots=True)
class Sample:
    """One key frame."""

    at_ms: int  #: wall time of the picture
    mean: float
    spread: float  #: standard deviation
    difference: float | None  #: mean absolute difference to the sample before; None of the first
    identical: bool = False  #: the coded bytes are those of the sample before


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    reason: Reason | None  #: None while all is well
    since_ms: int  #: the first sample that shows it


def judge(samples: Sequence[Sample]) -> Judgement | None:
    """The verdict on `samples`, oldest first; None without any. Black wins over frozen: a black picture is both."""
    if not samples:
        return None
    dark = _tail(samples, lambda sample: sample.mean < BLACK_MEAN and sample.spread < BLACK_SPREAD)
    if dark >= BLACK_SAMPLES:
        first = samples[-dark]
        return Judgement(Verdict.BLACK, Reason("media.health_black", {"mean": round(samples[-1].mean, 1)}), first.at_ms)
    still = _tail(samples, _stands_still)
    # The sample before the still ones is where the standstill began.
    first = samples[-still - 1] if still < len(samples) else samples[-still]
    lasted_ms = samples[-1].at_ms - first.at_ms
    if still + 1 >= FROZEN_SAMPLES and lasted_ms >= FROZEN_MS:
        return Judgement(Verdict.FROZEN, Reason("media.health_frozen", {"seconds": lasted_ms // 1000}), first.at_ms)
    return Judgement(Verdict.OK, None, samples[-1].at_ms)


def is_suspicious(samples: Sequence[Sample]) -> bool:
    """Whether the next look should come soon."""
    if not samples:
        return False
    last = samples[-1]
    return (last.mean < BLACK_MEAN and last.spread < BLACK_SPREAD) or _stands_still(last)


def _stands_still(sample: Sample) -> bool:
    return sample.identical or (sample.difference is not None and sample.difference < FROZEN_DIFFERENCE)


def _tail(samples: Sequence[Sample], holds: Callable[[Sample], bool]) -> int:
    """How many of the newest samples pass without a break."""
    count = 0
    for sample in reversed(samples):
        if not holds(sample):
            break
        count += 1
    return count
