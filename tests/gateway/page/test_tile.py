"""What one tile does when what the page knows of its camera changes; without a browser, every element a dummy."""

from __future__ import annotations

import json
from typing import Any

from tests.gateway.page.test_modules import needs_node, run_js

#: A tile, the addresses that it connected to, and the states that it told.
STAGE = """
    class Element {
      constructor() { this.classList = { add() {}, remove() {} }; this.buffered = []; }
      addEventListener() {} removeAttribute() {} load() {} remove() {} pause() {} requestVideoFrameCallback() {}
      canPlayType() { return ""; } prepend() {}
    }
    globalThis.location = { protocol: "http:", host: "x", href: "http://x/" };
    globalThis.localStorage = { getItem: () => null, setItem() {} };
    globalThis.navigator ??= { language: "en" };
    globalThis.document = { createElement: () => new Element(), documentElement: {}, addEventListener() {} };
    globalThis.window = globalThis;
    globalThis.MediaSource = class extends Element { static isTypeSupported() { return true; } };
    URL.createObjectURL = () => "blob:x";
    URL.revokeObjectURL = () => {};
    const opened = [], told = [];
    globalThis.WebSocket = class { constructor(url) { opened.push(url); } close() {} };
    globalThis.fetch = async (url) => { opened.push(String(url)); return new Response("", { status: 500 }); };
    const { TilePlayer } = await import("./player/tile.js");
    const tile = new TilePlayer(new Element(), (status) => told.push(status.state));
    const show = (camera, replay = null) => tile.show({
      camera: { id: "c1", enabled: true, functions: [], streams: { sub: { state: "online" } }, ...camera },
      live: { stream: "sub", quick: false }, replay, rate: 1, paused: false, sound: false, active: true,
    });
"""


def shown(*steps: dict[str, Any], replay: dict[str, Any] | None = None) -> tuple[list[str], int]:
    """(states that the tile told, connections that it opened) when the camera is each of these in turn."""
    answer = run_js(
        STAGE
        + "".join(f"show({json.dumps(step)}, {json.dumps(replay)});" for step in steps)
        # Tickers go on for ever: what was told is told by now.
        + "console.log(JSON.stringify([told, opened.length])); process.exit();"
    )
    return answer[0], answer[1]


@needs_node
def test_a_right_that_comes_is_used_at_once() -> None:
    catalog, live = {"functions": ["catalog"]}, {"functions": ["catalog", "live"]}
    assert shown(catalog) == (["forbidden"], 0)
    assert shown(catalog, catalog, live) == (["forbidden", "connecting"], 1)
    assert shown(catalog, live, catalog, live) == (["forbidden", "connecting"] * 2, 2)


@needs_node
def test_a_camera_that_is_switched_on_is_shown_at_once() -> None:
    live = {"functions": ["live"]}
    assert shown(live | {"enabled": False}, live) == (["disabled", "connecting"], 1)


@needs_node
def test_a_right_to_footage_that_comes_is_used_at_once() -> None:
    live, both = {"functions": ["live"]}, {"functions": ["live", "playback"]}
    states, _ = shown(live, live, both, replay={"at_ms": 1_800_000_000_000, "nonce": 1})
    assert states == ["forbidden", "replay_wait"]


@needs_node
def test_what_the_server_refused_is_not_asked_again_at_each_change_of_the_camera() -> None:
    """Only for what the page knew before did it know better since."""
    answer = run_js(
        STAGE
        + """
        show({ functions: ["live"] });
        tile.hear(tile.back, { state: "refused", reason: { code: "access.too_many_open" } });
        show({ functions: ["live"], name: "gate" });
        console.log(JSON.stringify([told, opened.length])); process.exit();
        """
    )
    assert answer == [["connecting", "forbidden"], 1]


#: The small stream runs, the large one is being prepared behind it; then comes what a test hears of the latter.
BEHIND = (
    STAGE
    + """
    globalThis.setInterval = () => 0;
    const timers = [];
    globalThis.setTimeout = (f, ms) => timers.push([f, ms]);
    globalThis.clearTimeout = (id) => { if (id) timers[id - 1] = null; };
    const camera = {
      id: "c1", enabled: true, functions: ["live"], streams: { main: { state: "online" }, sub: { state: "online" } },
    };
    const look = (stream) => tile.show({
      camera: { ...camera }, live: { stream, quick: false }, replay: null, rate: 1, paused: false, sound: false,
      active: true,
    });
    const seen = () => [tile.status.state, tile.status.stream, tile.status.limited, tile.status.missing,
      Boolean(tile.front) && !tile.front.ended, opened.length];
    look("sub");
    tile.swap("live/c1/sub/mse", "sub", "mse");
    look("main");
    const said = [seen()];
"""
)


def behind(code: str) -> list[list[Any]]:
    """[state, stream, limited, missing, whether the first picture runs, connections opened] as it goes on."""
    found: list[list[Any]] = run_js(BEHIND + code + "console.log(JSON.stringify(said)); process.exit();")
    return found


@needs_node
def test_a_running_picture_is_not_covered_by_trouble_of_the_stream_behind_it() -> None:
    offline = {"code": "camera.offline", "en": "No answer.", "zh": "无应答。"}
    before, waiting, missing, same, again, back = behind(f"""
        tile.hear(tile.back, {{ state: "connecting" }});
        said.push(seen());
        tile.hear(tile.back, {{ state: "offline", reason: {json.dumps(offline)} }});
        said.push(seen());
        look("main");  // each answer about the camera brings it anew
        said.push(seen());
        timers.filter((one) => one?.[1] === 30_000).forEach(([f]) => f());
        said.push(seen());
        look("sub");
        said.push(seen());
    """)
    assert before == waiting == ["playing", "sub", False, None, True, 2]
    assert missing == same == ["playing", "sub", True, {"state": "offline", "reason": offline}, True, 2]
    assert again == [*missing[:5], 3], "asked for once more, later"
    assert back == ["playing", "sub", False, None, True, 3]


@needs_node
def test_one_stream_too_many_ends_no_running_picture() -> None:
    full = {"code": "access.too_many_open", "en": "Too many.", "zh": "太多。"}
    _, refused, unplayable = behind(f"""
        tile.hear(tile.back, {{ state: "refused", reason: {json.dumps(full)} }});
        said.push(seen());
        look("sub");
        look("main");
        tile.back.end({{ kind: "codec", mime: 'video/mp4; codecs="hvc1"' }});
        said.push(seen());
    """)
    assert refused == ["playing", "sub", True, {"state": "forbidden", "reason": full}, True, 2]
    assert unplayable == ["playing", "sub", True, {"state": "codec", "reason": None}, True, 3]


@needs_node
def test_trouble_of_the_picture_that_is_shown_is_said() -> None:
    *_, shown_offline = behind("""
        tile.hear(tile.front, { state: "offline", reason: null });
        said.push(seen());
    """)
    assert shown_offline[0] == "offline"
