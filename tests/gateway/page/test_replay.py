"""What replay does at the end of what is recorded; without a browser, playlists by hand."""

from __future__ import annotations

from typing import Any

from tests.gateway.page.test_modules import needs_node, run_js
from tests.gateway.page.test_tile import STAGE

#: Entries of ten seconds; `gone` holds how the tile left replay, `holes` what it said it passed over.
REPLAY = (
    STAGE
    + """
    const { now } = await import("./clock.js");
    const began_ms = now(), gone = [], holes = [];
    globalThis.fetch = () => new Promise(() => {});
    tile.report = (status) => {
      if (status.skipped) holes.push([status.skipped.from_ms - began_ms, status.skipped.to_ms - began_ms]);
    };
    tile.onCaughtUp = () => gone.push("live");
    const entries = (...seconds) => ({ fragments: seconds.map((s, i) => (
      { start: 10 * i, duration: 10, programDateTime: began_ms + 1000 * s })) });
    const learn = (...seconds) => {
      tile.back.hls = { startLoad() {}, destroy() {} };
      tile.back.learn(entries(...seconds));
    };
    const at = () => tile.back && Math.round((tile.back.want_ms - began_ms) / 1000);
    const back = (seconds) => tile.show({
      camera: { id: "c1", enabled: true, functions: ["live", "playback"], streams: {} },
      live: { stream: "sub", quick: false }, replay: { at_ms: began_ms + 1000 * seconds, nonce: 1 }, rate: 1,
      paused: true, sound: false, active: true,
    });
"""
)


def replayed(code: str) -> dict[str, Any]:
    found: dict[str, Any] = run_js(
        REPLAY
        + f"""
        const places = [];
        {code}
        console.log(JSON.stringify({{ gone, holes, places }})); process.exit();
        """
    )
    return found


@needs_node
def test_what_is_not_there_yet_is_said_and_the_newest_played() -> None:
    """A camera of the node below: its newest footage here is 40 s old."""
    seen = replayed("back(-10); learn(-70, -60, -50); places.push(at(), tile.back.video.currentTime);")
    assert seen == {"gone": [], "holes": [[-10_000, -50_000]], "places": [-50, 20.01]}


@needs_node
def test_replay_goes_on_with_what_came_behind_its_last_entry() -> None:
    """Not behind the window's end, which is when it was opened."""
    seen = replayed("""
        back(-60);
        learn(-70, -60, -50);
        tile.back.finish();
        places.push(at());
        learn(-60, -50, -40, -20);
        places.push(at(), tile.back.video.currentTime);
        tile.back.finish();
        learn(-40, -20);  // nothing since
    """)
    assert seen == {"gone": ["live"], "holes": [], "places": [-40, -40, 20.01]}


@needs_node
def test_what_is_skipped_behind_the_last_entry_is_said() -> None:
    seen = replayed("""
        back(-60);
        learn(-70, -60);
        tile.back.finish();
        learn(-60, -30);
        places.push(tile.back.video.currentTime);
    """)
    assert seen == {"gone": [], "holes": [[-49_999, -30_000]], "places": [10.01]}


@needs_node
def test_near_now_the_end_of_replay_is_live() -> None:
    seen = replayed("back(-15); learn(-20, -11); tile.back.finish();")
    assert seen["gone"] == ["live"]
