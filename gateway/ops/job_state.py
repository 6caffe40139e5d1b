"""What is known of the keeper's jobs: last success, since when one fails and why. Facts of the catalog.

Belongs here: the memory. Does not belong here: running them (`gateway.ops.jobs`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection

from storage.catalog import facts

#: The keeper's jobs.
JOB_NAMES = (
    "store", "sweep", "rules", "evidence", "journal", "checkpoint", "uploads", "leftovers", "forecast", "scrub",
    "catalog", "backup", "alarms", "reports", "owners",
)  # fmt: skip
_PREFIX = "job."
#: fact: {"behind", "away_since_ms", "failures", "corrupt", "hanging", "problem"} of the uploader; of what hangs
#: {"segment", "camera"}
UPLOADS = "keeper.uploads"
FORECAST = "keeper.forecast"  #: fact: {"needed_bytes", "capacity_bytes", "full_ms"}, the last two or null
OWNERS = "keeper.owners"  #: fact: `gateway.ops.owner_checks.told`
PROMISES = "keeper.promises"  #: fact: `gateway.ops.promise.told`


@dataclass(frozen=True, slots=True)
class JobState:
    """The memory of one job."""

    interval_s: int
    last_success_ms: int | None = None
    failing_since_ms: int | None = None
    problem: str | None = None  #: a reason code, or the name of an exception
    failures: int = 0

    def is_late(self, now_ms: int) -> bool:
        """Three intervals and two minutes without success."""
        return self.last_success_ms is None or now_ms - self.last_success_ms > (3 * self.interval_s + 120) * 1000


def state_of(connection: Connection, name: str) -> JobState | None:
    """None while the job has never run."""
    value = facts.get(connection, _PREFIX + name)
    return None if value is None else JobState(**value)


def states(connection: Connection) -> dict[str, JobState]:
    found = {name: state_of(connection, name) for name in JOB_NAMES}
    return {name: state for name, state in found.items() if state is not None}


def remember(connection: Connection, name: str, interval_s: int, problem: str | None, now_ms: int) -> None:
    """The end of a run: `problem` None is success."""
    last = state_of(connection, name) or JobState(interval_s)
    if problem is None:
        state = JobState(interval_s, now_ms, None, None, last.failures)
    else:
        since_ms = last.failing_since_ms or now_ms
        state = JobState(interval_s, last.last_success_ms, since_ms, problem, last.failures + 1)
    facts.set(connection, _PREFIX + name, asdict(state))
