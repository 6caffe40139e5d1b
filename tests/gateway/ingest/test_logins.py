"""One record of refused logins for all who sign in at a device, whatever becomes of their process."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from config.clock import ManualClock, wall_ms
from config.redact import Secret
from gateway.ingest.backoff import LOGIN_TRIES
from gateway.ingest.logins import Account, Logins, account_of

pytestmark = pytest.mark.fault("A28")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def _account(clock: ManualClock, secret: str = "old", path: str = "main", changed_ms: int = 0) -> Account:
    return account_of(f"rtsp://10.0.0.7/{path}", "admin", Secret(secret), changed_ms)


def _refused(logins: Logins, account: Account, times: int) -> None:
    for _ in range(times):
        assert logins.wait_s(account) == 0
        logins.told(account, False)


def test_streams_of_one_device_share_their_tries(clock: ManualClock, tmp_path: Path) -> None:
    logins = Logins(clock, tmp_path)
    main, sub = _account(clock), _account(clock, path="sub")
    _refused(logins, main, 2)
    _refused(logins, sub, 1)
    assert logins.wait_s(main) > 250
    assert logins.wait_s(sub) > 250
    other = account_of("rtsp://10.0.0.8/main", "admin", Secret("old"), 0)
    assert logins.wait_s(other) == 0, "another device counts for itself"


def test_thirty_channels_at_once_risk_three_tries_and_follow_the_first_that_is_in(
    clock: ManualClock, tmp_path: Path
) -> None:
    logins = Logins(clock, tmp_path)
    channels = [_account(clock, path=f"ch{n}") for n in range(30)]
    trying = [channel for channel in channels if logins.wait_s(channel) == 0]
    assert len(trying) == LOGIN_TRIES
    logins.told(trying[0], True)
    assert all(logins.wait_s(channel) == 0 for channel in channels)

    logins = Logins(clock, tmp_path / "wrong")
    tried = 0
    for _ in range(5):
        trying = [channel for channel in channels if logins.wait_s(channel) == 0]
        for channel in trying:
            logins.told(channel, False)
        tried += len(trying)
    assert tried == LOGIN_TRIES


def test_tries_of_many_threads_are_counted(clock: ManualClock, tmp_path: Path) -> None:
    logins = Logins(clock, tmp_path)
    account = _account(clock)
    tried: list[int] = []

    def work() -> None:
        for _ in range(50):
            if logins.wait_s(account) == 0:
                tried.append(1)
                logins.told(account, False)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tried) == LOGIN_TRIES


def test_a_new_secret_is_tried_at_once_and_an_old_one_is_not(clock: ManualClock, tmp_path: Path) -> None:
    logins = Logins(clock, tmp_path)
    _refused(logins, _account(clock), 3)
    clock.advance(1)
    fresh = _account(clock, secret="new", changed_ms=wall_ms(clock))
    assert logins.wait_s(fresh) == 0
    logins.told(fresh, True)
    assert logins.wait_s(_account(clock, path="another channel")) > 0, "its own secret is still the old one"


def test_a_recorder_that_starts_anew_remembers(clock: ManualClock, tmp_path: Path) -> None:
    _refused(Logins(clock, tmp_path), _account(clock), 3)
    clock.advance(20)
    again = Logins(clock, tmp_path)
    assert 0 < again.wait_s(_account(clock)) <= 600
    assert b"old" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    clock.step_wall(-40 * 86400)
    assert 0 < Logins(clock, tmp_path).wait_s(_account(clock)) <= 600, "a clock that was set back is no pardon"


def test_two_recorders_share_the_record(clock: ManualClock, tmp_path: Path) -> None:
    one, two = Logins(clock, tmp_path), Logins(clock, tmp_path)
    _refused(one, _account(clock), 2)
    clock.advance(0.1)
    _refused(two, _account(clock), 1)
    assert one.wait_s(_account(clock)) > 250
    assert two.wait_s(_account(clock)) > 250


def test_a_login_that_works_clears_its_own_refusals(clock: ManualClock, tmp_path: Path) -> None:
    logins = Logins(clock, tmp_path)
    _refused(logins, _account(clock), 2)
    assert logins.wait_s(_account(clock)) == 0
    logins.told(_account(clock), True)
    clock.advance(30)
    _refused(logins, _account(clock), 3)


def test_a_try_that_never_reached_the_device_does_not_count(clock: ManualClock, tmp_path: Path) -> None:
    logins = Logins(clock, tmp_path)
    for _ in range(10):
        assert logins.wait_s(_account(clock)) == 0
        logins.told(_account(clock), None)


def test_a_disk_that_takes_nothing_costs_no_login_and_no_count(clock: ManualClock, tmp_path: Path) -> None:
    folder = tmp_path / "logins"
    logins = Logins(clock, folder)
    folder.rmdir()
    _refused(logins, _account(clock), 3)
    assert logins.wait_s(_account(clock)) > 250
    good = account_of("rtsp://10.0.0.8/main", "admin", Secret("good"), 0)
    assert logins.wait_s(good) == 0
    logins.told(good, True)
