"""The page on a real pair: a street's duty officer pulls a community's cameras, and what an operator does all day."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.gateway.page.test_page import arrange, put, states
from tests.parts.browser import Chromium, chromium
from tests.parts.demo import Demo
from tests.parts.node import Node
from tests.parts.wait import until

pytestmark = pytest.mark.real

CASE, WHY = "DL-2026-1124", "查找走失老人"
EARLIER = """async ([text, by]) => {
  const { fromInput, inputStamp } = await import('/page/time.js');
  return inputStamp(fromInput(text) - by);
}"""
AS_TYPED = """async (at_ms) => (await import('/page/time.js')).inputStamp(at_ms)"""
RATE = """() => document.querySelector('[data-tile="0"] video:not(.behind)')?.playbackRate"""
SECOND, PASSWORD = "zhang", "a quiet night on duty"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with Demo(tmp_path_factory.mktemp("pair")) as running:
        with running.street.client() as client:
            body = {"login": SECOND, "name": "张值班", "roles": ["duty"], "password": "first of all nights"}
            assert client.post("/api/v1/users", json=body).status_code == 201
            first = {"login": SECOND, "password": body["password"], "bearer": True}
            signed_in = client.post("/api/v1/session", json=first)
            client.headers["authorization"] = f"Bearer {signed_in.json()['session']}"
            change = {"old": body["password"], "new": PASSWORD}
            assert client.post("/api/v1/session/password", json=change).status_code == 204
        gate = running.cameras["gate"]
        until(lambda: _seconds(running.community, gate) > 12, 60, "12 s of footage")
        until(
            lambda: len(running.street.get("/cameras", scope="lower")["items"]) == 4, 60, "the directory of the street"
        )
        yield running


@pytest.fixture(scope="module")
def window() -> Iterator[Chromium]:
    """One browser for the file; `someone` opens windows with cookies of their own in it."""
    with chromium(locale="en") as opened:
        yield opened


@contextmanager
def someone(window: Chromium) -> Iterator[Page]:
    """A person at a screen, who in the end has nothing to complain about in the console."""
    window.complaints.clear()
    page = window.another_person("en")
    page.set_viewport_size({"width": 1366, "height": 768})
    try:
        yield page
    finally:
        page.context.close()


def _seconds(node: Node, camera: str) -> float:
    return float(sum(s["to_ms"] - s["from_ms"] for s in node.footage(camera))) / 1000


def sign_in(page: Page, node: Node, login: str = "", password: str = "") -> None:
    page.goto(node.url)
    page.fill("input[name=login]", login or node.user)
    page.fill("input[name=password]", password or node.password)
    page.click("button[type=submit]")
    page.wait_for_selector(".row.camera")


def act(page: Page, call: str, *arguments: Any) -> Any:
    """One of the page's own acts, as `playFrom`."""
    script = f"async (values) => (await import('/page/state.js')).{call}(...values)"
    return page.evaluate(script, list(arguments))


def look_at(page: Page, state: str, **more: Any) -> dict[str, Any]:
    def seen() -> dict[str, Any] | None:
        first = states(page)[0]
        return first if first.items() >= (more | {"state": state}).items() and first["width"] > 0 else None

    return until(seen, 40, f"the first tile is {state} {more}")


def goes_on(page: Page) -> None:
    before = states(page)[0]["at"]
    until(lambda: states(page)[0]["at"] > before, 20, "the picture goes on")


def probed(path: Path) -> list[str]:
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", "-show_entries",
         "stream=codec_name,width,nb_read_frames", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert not done.stderr.strip()
    return done.stdout.strip().split(",")


def test_pull_from_dialog_to_end(demo: Demo, window: Chromium) -> None:
    gate, market = demo.cameras["gate"], demo.cameras["market"]
    with someone(window) as page:
        sign_in(page, demo.street)
        page.click("#open-pull")
        for name in ("北门", "市场街"):
            page.click(f'dialog .choose li:has-text("{name}") input')
        page.fill("dialog input[name=case]", CASE)
        page.fill("dialog textarea[name=reason]", WHY)
        page.fill("dialog input[name=minutes]", "15")
        page.check("dialog input[name=recorded]")
        page.click("dialog button[type=submit]")
        look_at(page, "playing", camera=gate)
        until(
            lambda: states(page)[1]["state"] == "playing" and states(page)[1]["width"] > 0, 40, "H.265: the sub stream"
        )
        assert states(page)[1]["camera"] == market
        assert page.locator('[data-tile="0"] .watermark').count() == 1
        alarm = page.wait_for_selector(".banner.alarm")
        assert alarm is not None and CASE in alarm.inner_text() and "left" in alarm.inner_text()

        # Below: who, unit, case, reason, until.
        below = window.another_person("en")
        sign_in(below, demo.community)
        banner = below.wait_for_selector(".banner.watched")
        assert banner is not None
        words = banner.inner_text()
        assert all(word in words for word in (demo.street.name, "管理员", CASE, WHY, "until", "北门"))

        # Large: the main stream by WebRTC, and where that cannot be, by MSE.
        arrange(page, "1", [gate])
        page.click('[data-tile="0"]')
        look_at(page, "playing", stream="main", method="whep")
        goes_on(page)
        plain = page.context.new_page()
        plain.add_init_script("RTCPeerConnection.prototype.createOffer = () => Promise.reject(new Error('none'))")
        plain.goto(demo.street.url)
        look_at(plain, "playing", stream="main", method="mse")
        goes_on(plain)
        plain.close()

        # Recorded: the lower node's own timeline, and its footage through the cache.
        lease = demo.street.get("/pulls")["items"][0]
        spans = demo.street.get(
            f"/leases/{lease['id']}/timeline", camera=gate, **{"from": lease["from_ms"], "to": lease["to_ms"]}
        )["spans"]
        assert {s["kind"] for s in spans} - {"gap"} == {"none", "footage"} and spans[0]["kind"] == "none"
        footage = next(s for s in spans if s["kind"] == "footage")
        act(page, "playFrom", 0, footage["from_ms"] + 2_000)
        look_at(page, "replay")
        goes_on(page)
        until(lambda: footage["from_ms"] < act(page, "position", 0) < footage["to_ms"] + 5_000, 10, "the time it shows")
        page.click("#back-to-live")
        look_at(page, "playing")

        # Longer: asked above, by the page and by a command, and decided below.
        page.click(".banner.alarm button:has-text('Extend')")
        page.fill("dialog textarea[name=reason]", "仍未找到老人")
        page.click("dialog button[type=submit]")
        page.wait_for_selector("dialog", state="detached")
        longer = demo.community.get("/leases", side="granted", active=True)["items"][0]
        assert longer["reason"] == "仍未找到老人" and longer["expires_ms"] > lease["expires_ms"] + 20 * 60_000
        demo.street.cli("pull", "renew", CASE, "--reason", "扩大查找范围", "--minutes", "90")
        longest = demo.community.get("/leases", side="granted", active=True)["items"][0]
        assert longest["reason"] == "扩大查找范围" and longest["expires_ms"] > longer["expires_ms"]

        # The second person confirms, the pull ends, the tile says why.
        second = window.another_person("en")
        sign_in(second, demo.street, SECOND, PASSWORD)
        second.click(".banner.alarm button:has-text('Confirm')")
        second.wait_for_selector(".banner.pulling b:has-text('left')")
        page.click(".banner button:text-is('End')")
        page.wait_for_selector(
            '[data-tile="0"][data-state="forbidden"] .tile-words strong:has-text("The pull is over")'
        )
        assert CASE in page.inner_text('[data-tile="0"] .tile-words')
        below.wait_for_selector(".banner", state="detached")
        # A question about the lease that is on its way while the lease ends is refused: Chromium writes that down.
        late = [said for said in window.complaints if "403" in said and f"/leases/{lease['id']}/" in said]
        assert window.complaints == late


def test_an_unconfirmed_pull_is_red_below(demo: Demo, window: Chromium) -> None:
    """What half an hour of silence above makes of the banner; the sentence comes with the lease."""
    with someone(window) as page:
        sign_in(page, demo.community)
        page.evaluate(
            """async () => {
              const { store } = await import('/page/state.js'), { lease } = await import('/page/shapes.js');
              const now = Date.now(), violation = { code: 'tier.unconfirmed', en: 'Nobody.', zh: '无人。' };
              store.set({ leases: [lease({ id: 'x', side: 'granted', kind: 'emergency',
                case: 'C', reason: 'R',
                persons: [{ unit: 'U', name: 'P' }], cameras: [], issued_ms: now - 2e6, expires_ms: now + 1e6,
                confirm_by_ms: now - 1e5, violation, watching: true })] });
            }"""
        )
        banner = page.wait_for_selector(".banner.alarm#watched-banner")
        assert banner is not None and "U P" in banner.inner_text() and "confirmed" in banner.inner_text()


def test_snapshot_clip_and_ptz(demo: Demo, window: Chromium, tmp_path: Path) -> None:
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "1", [demo.cameras["school"]])
        look_at(page, "playing")
        page.click('[data-tile="0"]')
        with page.expect_download() as picture, page.expect_response(lambda r: "/snapshot.jpg" in r.url) as answer:
            page.keyboard.press("s")
            assert answer.value.status == 200, answer.value.text()
        picture.value.save_as(tmp_path / "picture.jpg")
        assert probed(tmp_path / "picture.jpg")[0] == "mjpeg"

        school = demo.cameras["school"]
        until(lambda: _seconds(demo.community, school) > 10, 60, "10 s of footage of this camera too")
        page.keyboard.press("c")
        end = page.input_value("dialog input[name=to]")
        page.fill("dialog input[name=from]", page.evaluate(EARLIER, [end, 6_000]))
        page.fill("dialog textarea[name=reason]", "事件核查导出")
        with page.expect_download() as clip, page.expect_response(lambda r: "/clip.mp4" in r.url) as answer:
            page.click("dialog button[type=submit]")
            assert answer.value.status == 200, answer.value.text()
        clip.value.save_as(tmp_path / "clip.mp4")
        codec, width, frames = probed(tmp_path / "clip.mp4")
        assert (codec, width) == ("h264", "1920") and int(frames) > 25
        page.wait_for_selector("dialog", state="detached")

        page.keyboard.press("c")
        page.fill("dialog textarea[name=reason]", "事件核查取证")
        page.check("dialog input[name=evidence]")
        assert page.query_selector("dialog input[name=watermark]") is None, "evidence has none"
        with page.expect_response(lambda r: "/exports/evidence.zip" in r.url) as answer:
            page.click("dialog button[type=submit]")
        assert answer.value.status == 409, "what is being recorded cannot be proven yet"
        refused = answer.value.json()
        page.wait_for_function("words => words.some(w => document.querySelector('dialog').innerText.includes(w))",
                               arg=[refused["en"], refused["zh"]])  # fmt: skip
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")

        sent: list[Any] = []
        answers: list[int] = []
        page.on("request", lambda r: sent.append(r.post_data_json) if r.url.endswith("/ptz") else None)
        page.on("response", lambda r: answers.append(r.status) if r.url.endswith("/ptz") else None)
        page.keyboard.press("z")
        pad = page.wait_for_selector(".ptz-l")
        assert pad is not None
        pad.hover()
        page.mouse.down()
        until(lambda: states(page) and len(sent) >= 2, 10, "holding repeats")
        page.mouse.up()
        until(lambda: states(page) and len(answers) == len(sent) and sent[-1] == {"stop": True}, 10, "release stops")
        assert all(one["pan"] < 0 for one in sent[:-1]) and set(answers) == {204}
        assert [said for said in window.complaints if "409" not in said or "/exports/" not in said] == []


def test_speeds_and_a_gap(demo: Demo, window: Chromium) -> None:
    gate = demo.cameras["gate"]
    unplugged_ms = time.time_ns() // 1_000_000
    demo.rtsp.unplug("gate_main")

    def long_gaps() -> list[dict[str, Any]]:
        gaps = demo.community.footage(gate, "gap")
        return [g for g in gaps if g["to_ms"] > unplugged_ms and g["to_ms"] - g["from_ms"] > 3_000]

    gaps = until(long_gaps, 60, "3 s of a gap")
    demo.rtsp.plug("gate_main")

    def seen_again() -> dict[str, Any] | None:
        later = [s for s in demo.community.footage(gate) if s["from_ms"] > gaps[0]["from_ms"]]
        return next((s for s in later if s["to_ms"] - s["from_ms"] > 5_000), None)

    after = until(seen_again, 90, "footage after it")
    before = [s for s in demo.community.footage(gate) if s["to_ms"] <= after["from_ms"]][-1]
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "1", [gate])
        page.click('[data-tile="0"]')
        look_at(page, "playing")
        act(page, "playFrom", 0, before["to_ms"] - 2_000)
        skipped = page.wait_for_selector(".tile-skip", timeout=30_000)
        assert skipped is not None and "no footage" in skipped.inner_text()
        until(lambda: act(page, "position", 0) >= after["from_ms"], 20, "beyond the gap")

        act(page, "playFrom", 0, before["from_ms"] + 1_000)
        for speed in ("×2", "×0.5", "×4"):
            page.click(f".timeline-tools button:has-text('{speed}')")
            until(lambda wanted=float(speed[1:]): page.evaluate(RATE) == wanted, 20, f"it plays at {speed}")  # type: ignore[misc]  # bound now
            look_at(page, "replay")
            goes_on(page)

        page.keyboard.press("c")
        page.fill("dialog input[name=from]", page.evaluate(AS_TYPED, before["to_ms"] - 2_000))
        page.fill("dialog input[name=to]", page.evaluate(AS_TYPED, after["from_ms"] + 2_000))
        page.fill("dialog textarea[name=reason]", "事件核查导出")
        with page.expect_download():
            page.click("dialog button[type=submit]")
        missing = page.wait_for_selector("dialog [role=alert] li")
        assert missing is not None and page.evaluate(AS_TYPED, before["to_ms"]).split("T")[0] in missing.inner_text()
        page.keyboard.press("Escape")
        page.wait_for_selector("dialog", state="detached")
        assert window.complaints == []


def test_replay_goes_on_with_what_was_recorded_meanwhile(demo: Demo, window: Chromium) -> None:
    """A window that ends where now was when it was opened is not followed by now, but by what has come since."""
    gate = demo.cameras["gate"]
    until(lambda: _seconds(demo.community, gate) > 12, 60, "footage to run through")
    span = max(demo.community.footage(gate), key=lambda s: s["to_ms"] - s["from_ms"])
    ended = """async ([camera, at_ms, later_ms]) => {
      const { HlsPlayer } = await import('/page/player/hls.js'), { learn, now } = await import('/page/clock.js');
      const why = await new Promise((done) => {
        const player = new HlsPlayer(camera, { at_ms, rate: 1, paused: true }, {
          onFirst: () => { learn(now() + later_ms); player.video.dispatchEvent(new Event('ended')); },
          onGap: () => {}, onEnd: done,
        });
        document.body.append(player.video);
      });
      return why.kind;
    }"""
    with someone(window) as page:
        sign_in(page, demo.community)
        assert page.evaluate(ended, [gate, span["from_ms"] + 2_000, 0]) == "live"
        assert page.evaluate(ended, [gate, span["from_ms"] + 2_000, 600_000]) == "window"


def test_four_times_is_four_times(demo: Demo, window: Chromium) -> None:
    """The key-frame playlist: time on screen against the clock on the wall."""
    gate = demo.cameras["gate"]
    until(lambda: _seconds(demo.community, gate) > 40, 90, "footage to run through")
    span = max(demo.community.footage(gate), key=lambda s: s["to_ms"] - s["from_ms"])
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "1", [gate])
        page.click('[data-tile="0"]')
        act(page, "changeTile", 0, {"rate": 4})
        pace = """async () => {
          const { position } = await import('/page/state.js'), at = position(0), clock = performance.now();
          await new Promise((done) => setTimeout(done, 1500));
          return (position(0) - at) / (performance.now() - clock);
        }"""
        with page.expect_response(lambda r: "/key/" in r.url):
            act(page, "playFrom", 0, span["from_ms"] + 500)
        look_at(page, "replay")
        until(lambda: 3 < page.evaluate(pace) < 5, 30, "four times as fast")
        assert window.complaints == []


def test_sound_is_heard_or_said_why_not(demo: Demo, window: Chromium) -> None:
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "4", [demo.cameras["bridge"], demo.cameras["gate"]])
        look_at(page, "playing", stream="sub")
        page.click('[data-tile="0"]')
        page.keyboard.press("m")
        look_at(page, "playing", stream="main", method="whep")  # G.711 comes with the main stream, by WebRTC
        heard = """async () => {
          const video = document.querySelector('[data-tile="0"] video:not(.behind)');
          const track = video.srcObject.getAudioTracks()[0];
          return !video.muted && Boolean(track) && !track.muted;
        }"""
        until(lambda: page.evaluate(heard), 20, "its sound")
        page.click('[data-tile="1"]')
        page.keyboard.press("m")
        page.wait_for_selector(".toast:has-text('switched off')")
        assert window.complaints == []


def test_recorded_h265_says_why_it_is_not_shown(demo: Demo, window: Chromium) -> None:
    market = demo.cameras["market"]
    until(lambda: _seconds(demo.community, market) > 8, 60, "footage")
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "1", [market])
        look_at(page, "playing", stream="sub", method="mse")
        act(page, "playFrom", 0, demo.community.footage(market)[-1]["from_ms"] + 1_000)
        words = until(lambda: page.query_selector(".tile-words.is-codec"), 30, "a sentence")
        assert "H.265" in words.inner_text()


def test_enter_fills_the_next_empty_tile(demo: Demo, window: Chromium) -> None:
    with someone(window) as page:
        sign_in(page, demo.community)
        arrange(page, "4", [])
        put(page, demo.cameras["gate"])
        for name, camera in (("大桥", "bridge"), ("市场街", "market")):
            page.fill("#camera-search", name)
            page.keyboard.press("Enter")
            page.wait_for_selector(f'.tile[data-camera="{demo.cameras[camera]}"]')
        assert [s["camera"] for s in states(page)] == [*(demo.cameras[c] for c in ("gate", "bridge", "market")), ""]


def test_audit_by_subject_and_time(demo: Demo) -> None:
    found = demo.community.get("/audit", subject=demo.cameras["gate"], limit=500)["items"]
    assert found and all(demo.cameras["gate"] in entry["subject"] for entry in found)
    first = found[-1]["at_ms"]
    assert all(e["at_ms"] < first for e in demo.community.get("/audit", to=first)["items"])
    assert demo.community.get("/audit", **{"from": first, "to": first + 1, "subject": demo.cameras["gate"]})["items"]


def test_the_page_learns_time_and_watermark(demo: Demo) -> None:
    assert demo.community.get("/node")["now_ms"] > 1_700_000_000_000
    session = demo.street.get("/session")
    assert session["watermark"] == {"text": f"{demo.street.name} 管理员", "always": False}
    with demo.community.client(demo.token) as client:
        department = client.get("/api/v1/session").json()
        cameras = client.get("/api/v1/cameras").json()["items"]
    assert department["watermark"]["always"] and "城管执法队" in department["watermark"]["text"]
    assert [c["watermark"] for c in cameras] == [True]
    assert {c["watermark"] for c in demo.street.get("/cameras", scope="lower")["items"]} == {True}
