"""An owner's recorder is asked for footage of an instant; nothing is green that was not seen to come."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.clock import SystemClock, wall_ms
from config.redact import Secret
from config.settings import build
from config.units import DAY_MS, HOUR_MS
from gateway.cameras.owner_recorder import Answered, OwnerRecorders, Target
from gateway.ingest.logins import Logins
from tests.parts.profile_g import Channel, OwnerRecorder
from tests.parts.wait import until

pytestmark = pytest.mark.real

CLOCK = SystemClock()
SETTINGS = build({"cameras": {"allowed_networks": ["127.0.0.0/8"], "connect_timeout_s": 3}})
NOW_MS = wall_ms(CLOCK)
AT_MS = NOW_MS - 29 * DAY_MS


@pytest.fixture
def recorder() -> Iterator[OwnerRecorder]:
    with OwnerRecorder(NOW_MS, [(NOW_MS - 30 * DAY_MS, NOW_MS)]) as made:
        yield made


def target(recorder: OwnerRecorder, **other: object) -> Target:
    url = f"http://127.0.0.1:{recorder.port}"
    made = Target("c", url, recorder.stream_url, ("profile",), recorder.user, Secret(recorder.password), 0)
    return replace(made, **other)  # type: ignore[arg-type]  # fields of this class


@pytest.fixture
def asking(tmp_path: Path) -> OwnerRecorders:
    return OwnerRecorders(SETTINGS, CLOCK, Logins(CLOCK, tmp_path / "logins"))


async def ask(asking: OwnerRecorders, recorder: OwnerRecorder, *instants: int, **other: object) -> list[Answered]:
    recorder.now_ms = wall_ms(CLOCK)
    return await asking.ask(target(recorder, **other), instants or (AT_MS,))


def told(found: list[Answered]) -> list[tuple[str, str]]:
    return [(one.answer[0], one.answer[1].code) for one in found]


async def test_footage_that_comes_with_its_time_is_present(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    (found,) = await ask(asking, recorder)
    assert told([found]) == [("present", "camera.owner_replay_present")]
    assert found.answer[1].params["bytes"] > 10_000, "coded pictures, not only headers"
    assert found.clock_offset_ms is not None and abs(found.clock_offset_ms) < 5_000
    assert [abs(at_ms - AT_MS) < 5_000 for at_ms in recorder.asked.played_ms] == [True], "a device's clock has seconds"
    until(lambda: recorder.asked.torn_down == 1 and recorder.asked.open_searches == 0, 5, "nothing is left open there")
    assert recorder.asked.bad_logins == 0


async def test_a_clock_that_is_hours_off_is_accounted_for(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    hole = (AT_MS - HOUR_MS, AT_MS + HOUR_MS)
    recorder.channels["rec-1"].footage = [(NOW_MS - 30 * DAY_MS, hole[0]), (hole[1], NOW_MS)]
    recorder.clock_ahead_ms = 8 * HOUR_MS  # local time told as UTC
    in_hole, beside = await ask(asking, recorder, AT_MS, AT_MS + 3 * HOUR_MS)
    assert told([in_hole, beside]) == [
        ("absent", "camera.owner_replay_elsewhere"),
        ("present", "camera.owner_replay_present"),
    ]
    assert abs((in_hole.clock_offset_ms or 0) - 8 * HOUR_MS) < 60_000


async def test_what_was_overwritten_is_absent_and_not_replayed(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.channels["rec-1"].footage = [(NOW_MS - 12 * DAY_MS, NOW_MS)]
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_lists")]
    recorder.channels["rec-1"].footage = []
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_lists_nothing")]
    assert recorder.asked.calls["PLAY"] == 0


async def test_a_list_that_lies_is_found_out_by_replay(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    channel = recorder.channels["rec-1"]
    channel.listed = channel.footage
    channel.footage = [(NOW_MS - 30 * DAY_MS, AT_MS - HOUR_MS)]  # nothing from there on: the range is refused
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_replay_range")]
    recorder.plays = "nothing"
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_replay_nothing")]
    recorder.plays = "live"
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_replay_elsewhere")]
    recorder.stamps = False
    assert told(await ask(asking, recorder)) == [("unknown", "camera.owner_replay_unstamped")]


async def test_a_hole_in_the_middle_is_absent(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.channels["rec-1"].footage = [(NOW_MS - 30 * DAY_MS, AT_MS - DAY_MS), (AT_MS + DAY_MS, NOW_MS)]
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_replay_elsewhere")]


async def test_a_recorder_without_profile_g_cannot_be_asked(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.services = set()
    assert told(await ask(asking, recorder)) == [("unknown", "camera.no_recordings")]
    recorder.services = {"search"}
    assert told(await ask(asking, recorder)) == [("unknown", "camera.owner_no_replay")]
    assert told(await ask(asking, recorder, onvif_url=None)) == [("unknown", "camera.owner_no_onvif")]


async def test_another_channels_footage_proves_nothing(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.channels["rec-2"] = Channel([], profile="other")
    assert told(await ask(asking, recorder)) == [("present", "camera.owner_replay_present")]
    found = await ask(asking, recorder, profiles=("other",))
    assert told(found) == [("absent", "camera.owner_lists_nothing")]
    assert told(await ask(asking, recorder, profiles=("third",))) == [("unknown", "camera.owner_not_told_apart")]
    recorder.channels["rec-3"] = Channel(recorder.channels["rec-1"].footage)
    assert told(await ask(asking, recorder)) == [("unknown", "camera.owner_not_told_apart")], "two with one profile"
    recorder.services -= {"recording"}
    recorder.channels["rec-2"].source_id = "other"
    found = await ask(asking, recorder, profiles=("other",))
    assert told(found) == [("absent", "camera.owner_lists_nothing")], "named by its source"


async def test_a_list_without_end_says_nothing(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.search_ends = False
    assert told(await ask(asking, recorder)) == [("unknown", "camera.owner_search_unfinished")]
    assert recorder.asked.open_searches == 0


async def test_a_recorder_with_no_recording_at_all_lacks_it(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.channels = {}
    assert told(await ask(asking, recorder)) == [("absent", "camera.owner_lists_nothing")]


@pytest.mark.fault("A28")
async def test_a_refused_account_is_not_tried_until_the_recorder_locks_it(
    recorder: OwnerRecorder, asking: OwnerRecorders, tmp_path: Path
) -> None:
    wrong = Secret("wrong")
    codes = [told(await ask(asking, recorder, AT_MS, NOW_MS - DAY_MS, password=wrong))[0][1] for _ in range(6)]
    assert codes[0] == "camera.onvif_credentials"
    assert codes[-1] == "camera.owner_login_rests"
    assert recorder.asked.bad_logins <= 3
    others = OwnerRecorders(SETTINGS, CLOCK, Logins(CLOCK, tmp_path / "logins"))
    assert told(await ask(others, recorder, password=wrong)) == [("unknown", "camera.owner_login_rests")]
    assert recorder.asked.bad_logins <= 3, "another process knows of it too"


async def test_an_account_that_may_not_replay_is_tried_once(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.replay_password = "another"
    found = await ask(asking, recorder, AT_MS, AT_MS + HOUR_MS, AT_MS + DAY_MS)
    assert told(found) == [("unknown", "camera.bad_login")] * 3
    assert recorder.asked.bad_logins == 1


async def test_a_password_is_not_sent_in_the_clear(recorder: OwnerRecorder, asking: OwnerRecorders) -> None:
    recorder.auth = "basic"
    assert told(await ask(asking, recorder)) == [("unknown", "camera.owner_replay_cleartext")]
    assert recorder.asked.calls["DESCRIBE"] == 1 and recorder.asked.bad_logins == 0


@pytest.mark.parametrize(
    ("where", "code"), [("soap", "camera.onvif_unreachable"), ("rtsp", "camera.owner_replay_silent")]
)
async def test_a_recorder_that_hangs_is_left_in_time(
    recorder: OwnerRecorder, tmp_path: Path, where: str, code: str
) -> None:
    quick = build({"cameras": {"allowed_networks": ["127.0.0.0/8"], "connect_timeout_s": 1}})
    asking = OwnerRecorders(quick, CLOCK, Logins(CLOCK, tmp_path / "logins"))
    recorder.hangs = where  # type: ignore[assignment]  # as parametrized
    found = await ask(asking, recorder, AT_MS, AT_MS + HOUR_MS)
    assert told(found) == [("unknown", code)] * 2
    assert recorder.asked.calls["DESCRIBE"] == (where == "rtsp"), "what hangs is not asked a second time"


@pytest.mark.fault("S6")
async def test_replay_from_an_address_outside_the_allowed_networks_is_not_opened(
    recorder: OwnerRecorder, asking: OwnerRecorders
) -> None:
    recorder.replay_host = f"169.254.169.254:{recorder.rtsp_port}"
    assert told(await ask(asking, recorder)) == [("unknown", "camera.address_not_allowed")]
