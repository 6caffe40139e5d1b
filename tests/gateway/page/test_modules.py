"""The page's files by themselves: they parse, speak both languages, and keep to the content policy."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[3] / "gateway" / "web" / "page"
MODULES = sorted(p for p in PAGE.rglob("*.js") if "vendor" not in p.parts)
SOURCES = {p: p.read_text(encoding="utf-8") for p in MODULES}
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="Node.js is not on this machine")


def run_js(code: str) -> Any:
    """What a module prints as JSON; imports are relative to the page's folder."""
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "-"],
        input=code,
        capture_output=True,
        text=True,
        cwd=PAGE,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def table(language: str) -> dict[str, str]:
    found = re.findall(r'^  ("[^"]+"): (".*"),$', (PAGE / "words" / f"{language}.js").read_text(encoding="utf-8"), re.M)
    return {json.loads(key): json.loads(value) for key, value in found}


def literal_keys() -> dict[str, Path]:
    """Every literal in the first argument of a call of `t`, and what the tables of keys and directions name."""
    keys: dict[str, Path] = {}
    for path, source in SOURCES.items():
        if "words" in path.parts:
            continue
        for match in re.finditer(r"(?<![\w.$])t\(", source):
            depth, end = 1, match.end()
            while depth and end < len(source) and not (source[end] == "," and depth == 1):
                depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(source[end], 0)
                end += 1
            # A comparison inside the argument is no key.
            argument = re.sub(r'[!=]==? "[^"]*"|`[^`]*`', "", source[match.end() : end])
            for key in re.findall(r'"([a-z0-9_]+(?:\.[A-Za-z0-9_]+)*)"', argument):
                keys[key] = path
        for key in re.findall(r'"((?:keys|ptz)\.[a-z_0-9]+)"', source):
            keys[key] = path
    return keys


def test_both_languages_have_the_same_keys() -> None:
    en, zh = table("en"), table("zh")
    assert len(en) > 300
    assert set(en) == set(zh)
    names = re.compile(r"\{(\w+)\}")
    differing = [k for k in en if set(names.findall(en[k])) != set(names.findall(zh[k]))]
    assert not differing
    assert not [k for k in en if not en[k].strip() or not zh[k].strip()]


def test_every_label_exists_and_is_used() -> None:
    en, used = table("en"), literal_keys()
    missing = {key: path.name for key, path in used.items() if key not in en}
    assert not missing
    families = {m for source in SOURCES.values() for m in re.findall(r'(?<![\w.$])tk\("([a-z_]+)"', source)}
    families |= {m for source in SOURCES.values() for m in re.findall(r"(?<![\w.$])t\(`([a-z_]+)\.\$\{", source)}
    assert all(any(key.startswith(f"{family}.") for key in en) for family in families)
    unused = [key for key in en if key not in used and key.split(".")[0] not in families]
    assert not unused


def test_words_of_the_api_have_labels() -> None:
    from storage.catalog.tables import TIERS
    from tiering.grants import ROLES, Function

    en = table("en")
    causes = "camera_offline network credentials unsupported recorder_down disk_full disk_slow clock disabled shed"
    wanted = [f"cause.{c}" for c in [*causes.split(), "damaged", "unknown"]] + [f"tier.{x}" for x in TIERS]
    wanted += [f"function.{f.value}" for f in Function] + [f"role.{r}" for r in ROLES]
    assert [key for key in wanted if key not in en] == []


@needs_node
@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PAGE)))
def test_module_parses(path: Path) -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, "--input-type=module", "--check"], input=SOURCES[path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert SOURCES[path].startswith("// @ts-check\n")


def test_every_import_is_a_file_of_the_page() -> None:
    for path, source in SOURCES.items():
        for target in re.findall(r'(?:from|import)\(? ?"(\.[^"]+)"', source):
            found = (path.parent / target).resolve()
            assert found.is_relative_to(PAGE), (path, target)
            assert "vendor" in found.parts or found.is_file(), (path, target)


def test_nothing_inline_and_nothing_foreign() -> None:
    """script-src and style-src are 'self': no handler or style in markup, nothing from elsewhere, no eval."""
    for path in [*MODULES, PAGE / "index.html", *PAGE.glob("css/*.css")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"""\s(?:on[a-z]+|style)\s*=\s*["']""", text), path
        assert not re.search(r"\b(?:eval|new Function)\(|innerHTML|SetInnerHTML|AdjacentHTML", text), path
        assert not [u for u in re.findall(r"https?://[\w.-]+", text) if u != "http://www.w3.org"], path
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|<script(?![^>]*\bsrc=)", html)


def test_every_table_of_a_list_says_when_it_is_cut() -> None:
    for path, source in SOURCES.items():
        for name in re.findall(r"rows=\$\{(\w+)\.items", source):
            assert re.search(rf"cut=\$\{{{name}\.cut", source), (path.name, name)


def test_browser_storage_holds_no_secret() -> None:
    """Only the wall's arrangement (camera ids), the language, and that signing out is under way are kept (I10)."""
    writes = [m for source in SOURCES.values() for m in re.findall(r"localStorage\.setItem\((\w+)", source)]
    assert sorted(writes) == ["KEPT", "KEPT_LEAVING", "KEPT_WALL"]
    assert not [p for p, source in SOURCES.items() if re.search(r"sessionStorage|indexedDB|document\.cookie", source)]


def test_no_file_is_long() -> None:
    assert [p.name for p, source in SOURCES.items() if source.count("\n") > 500 and "words" not in p.parts] == []


@needs_node
def test_moments_as_people_type_them() -> None:
    """Tuesday 2026-11-24 17:00 in China; what lies ahead is of the day or week before."""
    moments = {
        "15:20": "2026-11-24 15:20:00", "18:00": "2026-11-23 18:00:00", "tue 15:20": "2026-11-17 15:20:00",
        "last tuesday 15:20": "2026-11-17 15:20:00", "上周二 15:20": "2026-11-17 15:20:00",
        "周一 8:05:09": "2026-11-23 08:05:09", "昨天 15：20": "2026-11-23 15:20:00",
        "11-20 15:20": "2026-11-20 15:20:00", "12-31 23:59": "2025-12-31 23:59:00",
        "2026-11-20 15:20:30": "2026-11-20 15:20:30", "11月20日 15:20": "2026-11-20 15:20:00",
        "-10m": "2026-11-24 16:50:00", "-10分": "2026-11-24 16:50:00", "2026-11-25 10:00": None,
        "25:00": None, "someday": None, "": None, "02-31 10:00": None, "2026-04-31 10:00": None,
    }  # fmt: skip
    assert _typed(24, list(moments)) == moments


@needs_node
def test_last_week_is_the_calendar_week_before() -> None:
    """Thursday 2026-11-26 17:00 in China: Tuesday was the day before yesterday, and is not of last week."""
    moments = {
        "周二 15:20": "2026-11-24 15:20:00", "本周二 15:20": "2026-11-24 15:20:00",
        "上周二 15:20": "2026-11-17 15:20:00", "上星期天 15:20": "2026-11-22 15:20:00",
        "本周四 15:20": "2026-11-26 15:20:00", "本周五 15:20": None, "last friday 15:20": "2026-11-20 15:20:00",
    }  # fmt: skip
    assert _typed(26, list(moments)) == moments


def _typed(day: int, texts: list[str]) -> dict[str, str | None]:
    """What each is taken for at 17:00 of a day of November 2026."""
    answer = run_js(f"""
        import {{ local, parseMoment, stamp }} from "./time.js";
        const now = local(2026, 11, {day}, 17, 0, 0);
        const said = (at) => at === null ? null : stamp(at);
        console.log(JSON.stringify({json.dumps(texts)}.map((text) => said(parseMoment(text, now)))));
    """)
    return dict(zip(texts, answer, strict=True))


@needs_node
def test_a_day_is_said_where_it_is_another() -> None:
    said = run_js("""
        import { clockRange, local, momentText, rangeText } from "./time.js";
        const at = local(2026, 11, 23, 23, 50, 0), later = local(2026, 11, 24, 0, 20, 0);
        console.log(JSON.stringify([
          momentText(later, local(2026, 11, 24, 15, 0), false), momentText(at, later, false),
          clockRange(at, at + 60_000), clockRange(at, later), rangeText(at, later, false),
        ]));
    """)
    assert said == [
        "00:20", "2026-11-23 23:50", "23:50:00–23:51:00", "2026-11-23 23:50:00 – 2026-11-24 00:20:00",
        "2026-11-23 23:50 – 2026-11-24 00:20",
    ]  # fmt: skip


@needs_node
def test_cameras_come_onto_the_wall_beside_what_is_there() -> None:
    walls = run_js("""
        globalThis.location = { protocol: "http:", host: "x", href: "http://x/" };
        globalThis.document = { documentElement: {}, addEventListener() {} };
        const walls = [];
        for (const [layout, there, come] of [
          ["4", [], ["a", "b"]], ["4", ["x", null, "y"], ["a", "b"]], ["4", ["x", "y", "z"], ["y", "a", "b"]],
          ["1", ["x", "behind"], ["a"]], ["16", [..."abcdefghijklmnop"], ["b", "q", "r"]],
        ]) {
          const kept = { "tiergate.wall": JSON.stringify({ layout, cameras: there }) };
          const setItem = (name, text) => { kept[name] = text; };
          globalThis.localStorage = { getItem: (name) => kept[name] ?? null, setItem };
          const { showCameras, store } = await import(`./state.js?${walls.length}`);
          showCameras(come);
          const { focus } = store.get(), wall = JSON.parse(kept["tiergate.wall"]);
          walls.push([wall.layout, wall.cameras.map((one) => one || "-").join("").replace(/-+$/, ""), focus]);
        }
        console.log(JSON.stringify(walls)); process.exit();
    """)
    assert walls == [
        ["4", "ab", 0], ["4", "xayb", 1], ["6", "xyzab", 1], ["4", "xbehinda", 2], ["16", "abcdefghijklmnqr", 1],
    ]  # fmt: skip


@needs_node
def test_lag_follows_the_measured_rules() -> None:
    answer = run_js("""
        import { LagTarget, advise } from "./player/lag.js";
        const base = { start_s: 0, last_start_s: 0, end_s: 10, target_s: 0.15, age_ms: 60000, placed: true };
        const at = (current_s, more) => advise({ ...base, groups: [], current_s, ...more });
        const lag = new LagTarget(); const seen = [lag.target_s];
        lag.tick(0);
        lag.stalled(1000);
        seen.push(lag.target_s);
        for (const ms of [10_999, 11_000, 10_000_000]) {
          lag.tick(ms);
          seen.push(lag.target_s);
        }
        console.log(JSON.stringify({
          far: at(7), early: at(9.5, { age_ms: 1000 }), late: at(9.7), right: at(9.85), close: at(9.95),
          hole: at(2, { last_start_s: 5 }), fresh: at(0, { placed: false }), seen,
        }));
    """)
    assert answer["far"]["seek_s"] == pytest.approx(9.85)
    assert answer["early"]["seek_s"] == pytest.approx(9.85)
    assert [answer[k]["rate"] for k in ("late", "right", "close")] == [1.1, 1, 0.95]
    assert "seek_s" in answer["hole"] and "seek_s" in answer["fresh"] and "seek_s" not in answer["right"]
    assert answer["seen"] == pytest.approx([0.15, 0.2, 0.2, 0.19, 0.06])


@needs_node
def test_timeline_arithmetic() -> None:
    answer = run_js("""
        import * as m from "./timeline_model.js";
        const now = 1_800_000_000_000, hour = 3_600_000, middle = now - hour / 2;
        const view = m.clamp({ from_ms: now - hour, to_ms: now }, now);
        const near = m.zoom(view, 0.5, middle, now), ticks = m.ticks(view, 1200);
        const share = (v) => (middle - v.from_ms) / (v.to_ms - v.from_ms);
        const footage = (from_ms, to_ms) => ({ kind: "footage", from_ms, to_ms });
        const spans = [footage(0, 10), { kind: "gap", cause: "network", from_ms: 10, to_ms: 20 }, footage(20, 30)];
        console.log(JSON.stringify({
          share: share(near), before: share(view), ahead: m.pan(view, 100 * hour, now).to_ms <= now + hour,
          step: ticks.step_ms, at: m.spanAt(spans, 15).cause, next: m.nextFootage(spans, 15),
          merged: m.coarse([footage(0, 10), footage(11, 12)], 5).length, gap: m.neighbourGap(spans, 5, 1).from_ms,
        }));
    """)
    assert answer["share"] == pytest.approx(answer["before"])
    assert answer == answer | {"ahead": True, "step": 300_000, "at": "network", "next": 20, "merged": 1, "gap": 10}


@needs_node
def test_a_tile_says_why_it_shows_the_small_stream_and_stops_when_the_large_is_back() -> None:
    shown = run_js("""
      import { TilePlayer } from './player/tile.js';
      const tile = new TilePlayer(/** @type {any} */ ({}), () => {});
      const player = { config: { mime: 'video/mp4', codec: 'avc1', stream: 'main', note: null } };
      tile.front = player;
      tile.showing = 'live/cam/main/mse';
      const said = [], hear = (word) => {
        if (word.mime) player.config = word;
        tile.hear(player, word);
        said.push([tile.status.stream, tile.status.limited, tile.status.note && tile.status.note.code]);
      };
      const why = { code: 'tier.reduced_for_line', en: 'thin', zh: 'thin' };
      hear({ state: 'stream', reason: { ...why, stream: 'sub' } });
      hear({ mime: 'video/mp4', codec: 'avc1', stream: 'sub', note: why });
      hear({ state: 'stream', reason: { code: 'tier.unconfirmed', stream: 'sub' } });
      hear({ state: 'stream', reason: { stream: 'main' } });
      console.log(JSON.stringify(said));
      process.exit();  // a page's clock ticks for ever
    """)
    assert shown == [
        ["sub", True, "tier.reduced_for_line"], ["sub", True, "tier.reduced_for_line"],
        ["sub", True, "tier.unconfirmed"], ["main", False, None],
    ]  # fmt: skip


@needs_node
def test_steering_never_outruns_five_commands_a_second_and_always_stops() -> None:
    """With a clock of its own: what is sent while a hand trembles on the pad."""
    answer = run_js("""
        globalThis.location = { protocol: "http:", host: "x", href: "http://x/" };
        globalThis.localStorage = { getItem: () => null, setItem() {} };
        globalThis.navigator ??= { language: "en" };
        globalThis.document = { createElement: () => ({}), documentElement: {}, addEventListener() {} };
        globalThis.setInterval = () => 0;
        let now = 0; const timers = [];
        globalThis.setTimeout = (f, ms) => timers.push([now + ms, f]);
        const { PtzSender } = await import("./ptz.js");
        const sent = [];
        const one = new PtzSender(async (body) => { sent.push([now, body]); }, () => now);
        for (now = 0; now <= 1400; now += 10) {
          for (const timer of timers.splice(0)) {
            if (timer[0] <= now) timer[1]();
            else timers.push(timer);
          }
          if (now < 990) one.move({ pan: now / 1000 });
          else one.stop();
        }
        console.log(JSON.stringify(sent));
    """)
    times = [at for at, _ in answer]
    assert all(b - a >= 200 for a, b in itertools.pairwise(times))
    assert answer[-1][1] == {"stop": True}
    assert sum("stop" in body for _, body in answer) == 1


def _luminance(colour: str) -> float:
    def linear(channel: int) -> float:
        c = channel / 255
        return c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4

    r, g, b = (linear(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("text", ["text", "dim", "accent", "good", "warn", "bad"])
@pytest.mark.parametrize("ground", ["black", "bg", "panel", "raised"])
def test_contrast(text: str, ground: str) -> None:
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", (PAGE / "css" / "base.css").read_text()))
    light, dark = sorted((_luminance(colours[text]), _luminance(colours[ground])), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 4.5
