"""The retention machine with a second store: copies of held footage, their locks, passes that die, and how they end.

All rules of the retention machine go on. The oracle looks at each deletion of a copy at the moment when it happens:
none that a hold touches, none that is locked (FAULTS B20, B21); and at each lock: none is longer than a hold could ask
for at its true time, whatever the node's clock says (FAULTS B23). After three quiet days everything that a hold touches
and that is in the store stands in both places, and no copy stands that nothing needs, whether or not a row tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from config.units import DAY_MS
from storage.catalog import evidence_rows, segments
from storage.evidence import EvidenceKeeper
from storage.objects import base
from storage.objects.base import ObjectInfo
from storage.objects.evidence import UNLOCKED, Lock
from storage.sweeper import clock_trust_of
from tests.storage.machine_stores import Crash, Witnessed
from tests.storage.retention_machine import NODE, STEPS, InMemory

SEEN = {"copies": 0, "released": 0, "passes": 0, "refused by a lock": 0}
_EVERYTHING = 10_000
_LONGEST_LOCK_MS = (
    94 * DAY_MS
)  #: three calendar months, all holds here being of that class, and what a clock may be off


class MemoryEvidence:
    """A versioned bucket: what is locked it does not delete, by a clock of its own that is right."""

    def __init__(
        self, now_ms: Callable[[], int], judge: Callable[[str], None], judge_lock: Callable[[str, Lock], None]
    ) -> None:
        self._now_ms, self._judge, self._judge_lock = now_ms, judge, judge_lock
        self._versions: dict[str, dict[str, Lock]] = {}
        self._made = 0
        self.locks = True
        self.tells = False  #: what time it is
        self.denies = False
        self.dies_in: int | None = None

    def _answer(self) -> None:
        if self.denies:
            raise base.unavailable("denied")

    def _last_of_its_process(self) -> None:
        if self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in < 0:
                raise Crash

    def server_time(self) -> int | None:
        self._answer()
        return self._now_ms() if self.tells else None

    def copy_from(self, source: Witnessed, key: str, sha256: bytes, bytes: int) -> ObjectInfo:
        self._answer()
        if source.head(key) is None:
            raise base.missing(key)
        versions = self._versions.setdefault(key, {})
        if not versions:
            self._made += 1
            versions[f"v{self._made}"] = UNLOCKED
            SEEN["copies"] += 1
        self._last_of_its_process()
        return ObjectInfo(key, bytes, sha256, next(reversed(versions)))

    def is_whole(self, key: str, version_id: str | None, sha256: bytes) -> bool:
        return self.has_version(key, version_id, 0)

    def has_version(self, key: str, version_id: str | None, bytes: int) -> bool:
        self._answer()
        return version_id in self._versions.get(key, {})

    def has(self, key: str) -> bool:
        return bool(self._versions.get(key))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._answer()
        for key in [key for key, versions in self._versions.items() if key.startswith(prefix) and versions]:
            yield ObjectInfo(key, 0, None)

    def fetch(self, key: str) -> NoReturn:
        """It has no bytes: footage that no row knows is brought back in tests with real stores."""
        raise base.missing(key)

    def versions(self, key: str) -> Sequence[str | None]:
        self._answer()
        return list(self._versions.get(key, {}))

    def any_lock_of(self, key: str) -> Lock:
        return next(iter(self._versions.get(key, {}).values()), UNLOCKED)

    def lock_of(self, key: str, version_id: str | None) -> Lock:
        self._answer()
        return self._versions[key][str(version_id)]

    def lift_legal_hold(self, key: str, version_id: str | None) -> None:
        raise AssertionError("no hold of the machine sets one")

    def lock(self, key: str, version_id: str | None, lock: Lock) -> Lock:
        self._answer()
        versions = self._versions.get(key, {})
        if version_id not in versions:
            raise base.missing(key)
        if not self.locks:
            return UNLOCKED
        until_ms = max(versions[version_id].until_ms or 0, lock.until_ms or 0) or None
        versions[version_id] = Lock(until_ms, lock.legal_hold)
        self._judge_lock(key, versions[version_id])
        self._last_of_its_process()
        return versions[version_id]

    def delete_version(self, key: str, version_id: str | None) -> None:
        self._answer()
        versions = self._versions.get(key, {})
        if version_id not in versions:
            return
        lock = versions[version_id]
        if lock.legal_hold or (lock.until_ms or 0) > self._now_ms():
            SEEN["refused by a lock"] += 1
            raise base.refused("AccessDenied")
        self._judge(key)
        del versions[version_id]
        SEEN["released"] += 1
        self._last_of_its_process()


class NobodyMends:
    """What is gone from the main store stays gone: bringing it back is `storage.damage`'s, tested with real stores."""

    def mend(self, row: object, now_ms: int) -> bool:
        return False


class EvidenceMachine(InMemory):
    def __init__(self) -> None:
        super().__init__()
        self.evidence_store = MemoryEvidence(lambda: self.true_ms, self.judge_copy, self.judge_lock)

    @initialize(locks=st.booleans(), tells=st.booleans())
    def a_bucket(self, locks: bool, tells: bool) -> None:
        self.evidence_store.locks, self.evidence_store.tells = locks, tells

    def judge_copy(self, key: str) -> None:
        found = self.footage.get(key)
        if found is not None and self.held(found.camera, found.start_ms, found.end_ms):
            self.violations.append(f"copy of held footage deleted: {found}")

    def judge_lock(self, key: str, lock: Lock) -> None:
        if (lock.until_ms or 0) > self.true_ms + _LONGEST_LOCK_MS:
            days = ((lock.until_ms or 0) - self.true_ms) // DAY_MS
            self.violations.append(f"a copy is locked for {days} days: {self.footage.get(key)}")

    def _trusted(self) -> bool:
        seen = self.evidence()
        return self.inner_catalog.read(lambda c: clock_trust_of(c, seen)).trusted

    def _pass(self) -> bool:
        """Whether the clock was trusted: only then does a copy go."""
        SEEN["passes"] += 1
        trusted = self._trusted()
        keeper = EvidenceKeeper(
            self.catalog, self.store, self.evidence_store, self.clock, NobodyMends(), self._trusted, NODE,  # type: ignore[arg-type]  # stand-ins with what it calls
        )  # fmt: skip
        keeper.run(_EVERYTHING, _EVERYTHING)
        return trusted

    @rule(which=st.integers(0, 7))
    def hold_what_there_is(self, which: int) -> None:
        found = list(self.footage.values())[which % len(self.footage)]
        self._hold(found.camera, found.start_ms, found.end_ms)

    @rule()
    def release_all_and_wait(self) -> None:
        """Until every lock has run out: a hold of three months locks for as long."""
        for id_ in list(self.law.holds):
            self.release_one(id_)
        self.clock.advance(100 * DAY_MS // 1000)
        self.three_quiet_days_of_passes()

    @rule()
    def copy(self) -> None:
        self._pass()

    @rule(denies=st.booleans())
    def the_bucket_is_away(self, denies: bool) -> None:
        self.evidence_store.denies = denies

    @rule(writes=st.none() | st.integers(0, 6), after_commit=st.booleans(), calls=st.none() | st.integers(0, 6))
    def die_in_a_pass(self, writes: int | None, after_commit: bool, calls: int | None) -> None:
        self.catalog.dies_in, self.catalog.after_commit = writes, after_commit
        self.evidence_store.dies_in = calls
        try:
            self._pass()
        except Crash:
            STEPS["crashes"] += 1
        finally:
            self.catalog.dies_in = self.evidence_store.dies_in = None

    @rule()
    def three_quiet_days_of_passes(self) -> None:
        self.the_clock_is_put_right()
        self.kernel, self.server_tells, self.store.denies, self.evidence_store.denies = True, True, False, False
        trusted = True
        for _ in range(3):
            self.clock.advance(DAY_MS // 1000)
            self._sweep(confirmed=_EVERYTHING)
            trusted = self._pass() and trusted
        states = self.inner_catalog.read(lambda c: segments.existing(c, [f.id for f in self.footage.values()]))
        for key, found in self.footage.items():
            copy = self.inner_catalog.read(lambda c, id_=found.id: evidence_rows.copy_of(c, id_))  # type: ignore[misc]  # bound now
            touched = self.held(found.camera, found.start_ms, found.end_ms)
            stands = states.get(found.id) in ("stored", "condemned") and self.inner_store.has(key)
            if touched and stands and not (copy and copy.state == "verified" and self.evidence_store.has(key)):
                self.violations.append(f"held and stored, and not copied in three days: {found} {copy}")
            needed = self.held(found.camera, *self.span_of(found))
            over_ms = self.evidence_store.any_lock_of(key).until_ms or 0
            told = copy is not None and copy.state != "gone"
            left = self.evidence_store.has(key) and states.get(found.id) not in (None, "spooled")
            if not (told or left) or needed or not trusted:
                continue
            if max(over_ms, (copy and copy.locked_until_ms) or 0) < self.true_ms - 2 * DAY_MS:
                self.violations.append(f"a copy that nothing needs stands after three days: {found} {copy}")
