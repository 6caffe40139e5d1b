"""How a live picture's buffer is cut: by what a browser really removes, and by what the node's fragments say."""

from __future__ import annotations

import base64

import pytest

from storage.media.access_unit import Track
from storage.media.fmp4 import Sample, fragment, init_segment
from tests.gateway.page.test_modules import needs_node, run_js
from tests.media import encode_h264, stream_config

#: Four minutes of a live stream, appended picture by picture and twice a second several at once; `remove` as Media
#: Source Extensions say: up to the next key frame at or behind the end, and all there is when there is none.
LIVE = """
    import { advise } from "./player/lag.js";
    const play = (distance) => {
      let buffered = [], groups = [], stood = 0, most = 0;
      const end = () => buffered.length ? buffered[buffered.length - 1].at + 1 / 8 + 0.04 : 0;  // a guess
      for (let n = 0; n < 240 * 8;) {
        const from_s = end();
        let opens = false;
        for (let together = n % 4 ? 1 : 3; together; together -= 1, n += 1) {
          const picture = { at: n / 8, key: n % (distance * 8) === 0 };
          opens ||= picture.key;
          if (picture.key || buffered.length) buffered.push(picture);
        }
        if (!buffered.length) { stood += 1; continue; }
        if (opens) groups.push({ from_s, to_s: end() });
        const start_s = buffered[0].at, current_s = end() - 0.15;
        const { trim_to_s } = advise({
          start_s, last_start_s: start_s, end_s: end(), current_s, target_s: 0.15, age_ms: 60000, placed: true, groups,
        });
        most = Math.max(most, end() - start_s);
        if (trim_to_s === undefined) continue;
        const next = buffered.find((picture) => picture.key && picture.at >= trim_to_s);
        buffered = next ? buffered.filter((picture) => picture.at >= next.at) : [];
        groups = groups.filter((group) => group.from_s >= trim_to_s);
        if (!buffered.length || buffered[0].at > current_s) stood += 1;
      }
      return [stood, most];
    };
"""


@needs_node
@pytest.mark.parametrize("key_frames_s", [1, 2, 9, 11, 25, 60])
def test_no_cut_takes_the_picture_that_is_shown(key_frames_s: int) -> None:
    stood, most_s = run_js(LIVE + f"console.log(JSON.stringify(play({key_frames_s})));")
    assert stood == 0
    assert most_s <= max(20, 10 + 2 * key_frames_s) + 1, "and what was shown goes"


@needs_node
def test_a_fragment_says_whether_a_group_of_pictures_opens_with_it() -> None:
    def video(*keys: bool) -> bytes:
        return fragment(Track.VIDEO, 1, 90_000, [Sample(b"data", 3_600, key, 0) for key in keys], 1_800_000_000 * 10**9)

    sound = fragment(Track.AUDIO, 1, 48_000, [Sample(b"data", 1_024, True, 0)])
    made = [
        video(True),
        video(False),
        sound,
        init_segment(stream_config("h264", encode_h264(0.2))),
        b"",
        video(True)[:30],
    ]
    texts = [base64.b64encode(data).decode() for data in made]
    found = run_js(f"""
        import {{ opensGroup }} from "./player/fragment.js";
        const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
        console.log(JSON.stringify({texts}.map((text) => opensGroup(bytes(text)))));
    """)
    assert found == [True, False, False, False, False, False]
