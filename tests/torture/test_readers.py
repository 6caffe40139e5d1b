"""Many readers of many cameras at once, through every way out, while the cameras go and come: nobody is shown another
camera than the one asked for, and nobody what they may not see (FAULTS S21, A33).

Each camera's picture has a width of its own: what is answered says by itself whose it is. The suite runs a small share,
`scripts/torture readers` the whole.
"""

from __future__ import annotations

import io
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import httpx
import pytest

from tests.media import decode_mp4
from tests.parts.clips import LOOKS
from tests.parts.node import QUICK, Node
from tests.parts.relay import TcpRelay
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

READERS = 9
SETTINGS = QUICK | {"web": {"requests_per_s": 10_000, "media_requests_per_s": 10_000}}
#: What a token's holder may: clips are for people.
SHARED = ("live", "playback", "snapshot")


def width_of(look: int) -> int:
    return 96 + 32 * look


@dataclass
class Seen:
    """What the readers got. Each has its own, and they are added up at the end."""

    right: Counter[str] = field(default_factory=Counter)  #: by way: the picture of the camera that was asked for
    refused: Counter[str] = field(default_factory=Counter)  #: by way: what the reader may not see
    away: Counter[str] = field(default_factory=Counter)  #: by way: the camera was away, or nothing was recorded yet
    wrong: list[str] = field(default_factory=list)

    def judge(self, way: str, look: int, may: bool, status: int, width: int | None) -> None:
        """`width`: of the picture that came, None when none did."""
        if width is not None:
            if may and width == width_of(look):
                self.right[way] += 1
            else:
                self.wrong.append(f"{way} of look {look}, allowed {may}: a picture {width} wide")
        elif not may:
            if status in (403, 404):
                self.refused[way] += 1
            else:
                self.wrong.append(f"{way} of look {look} that is not theirs: {status}")
        elif status in (404, 409, 503):
            self.away[way] += 1
        else:
            self.wrong.append(f"{way} of look {look}: {status}")


def _announced_width(head: bytes) -> int | None:
    """Of an init segment: the visual sample entry's (ISO/IEC 14496-12 §12.1.3)."""
    at = head.find(b"avc1")
    return int.from_bytes(head[at + 28 : at + 30], "big") if 0 <= at <= len(head) - 30 else None


class Reader:
    """One caller and what they may see: None for everything."""

    def __init__(self, http: httpx.Client, cameras: list[str], theirs: frozenset[int] | None, seed: int) -> None:
        self._http, self._cameras, self._theirs = http, cameras, theirs
        self._dice = random.Random(seed)
        self.seen = Seen()
        self._last = ("", "")  #: the camera whose recording was read last, and a piece of it

    def read(self, times: int) -> Seen:
        ways = {"snapshot": self._snapshot, "live": self._live, "playback": self._playback, "clip": self._clip}
        for _ in range(times):
            look = self._dice.randrange(len(self._cameras))
            way = self._dice.choice(list(ways))
            may = self._theirs is None or (look in self._theirs and way != "clip")
            status, width = ways[way](self._cameras[look])
            self.seen.judge(way, look, may, status, width)
        return self.seen

    def _snapshot(self, camera: str) -> tuple[int, int | None]:
        answer = self._http.get(f"/api/v1/cameras/{camera}/snapshot.jpg")
        if answer.status_code != 200:
            return answer.status_code, None
        with av.open(io.BytesIO(answer.content), "r") as container:
            return 200, next(container.decode(video=0)).width

    def _live(self, camera: str) -> tuple[int, int | None]:
        with self._http.stream("GET", f"/api/v1/cameras/{camera}/live.mp4") as answer:
            if answer.status_code != 200:
                return answer.status_code, None
            head = b""
            for chunk in answer.iter_raw():
                head += chunk
                if (width := _announced_width(head)) is not None:
                    return 200, width
        return 503, None  # it ended before a picture came

    def _playback(self, camera: str) -> tuple[int, int | None]:
        now_ms = time.time_ns() // 1_000_000
        window = {"from": str(now_ms - 20_000), "to": str(now_ms)}
        answer = self._http.get(f"/api/v1/cameras/{camera}/playback.m3u8", params=window)
        if answer.status_code != 200:
            return answer.status_code, None
        maps = re.findall(r'#EXT-X-MAP:URI="([^"]+)"', answer.text)
        parts = [line for line in answer.text.splitlines() if line and not line.startswith("#")]
        own = maps[0].split("/init/")[0]
        before, piece = self._last
        if before not in ("", camera) and self._http.get(own + piece).status_code == 200:
            self.seen.wrong.append(f"a path of {camera} served a piece of {before}")
        self._last = (camera, parts[0].removeprefix(own))
        pieces = [self._http.get(uri) for uri in (maps[0], parts[0])]
        self._http.delete(own)
        if bad := [piece.status_code for piece in pieces if piece.status_code != 200]:
            return bad[0], None
        return 200, decode_mp4(b"".join(piece.content for piece in pieces)).size[0]

    def _clip(self, camera: str) -> tuple[int, int | None]:
        now_ms = time.time_ns() // 1_000_000
        window = {"from": str(now_ms - 8_000), "to": str(now_ms - 4_000), "reason": "a storm of readers"}
        answer = self._http.get(f"/api/v1/cameras/{camera}/clip.mp4", params=window | {"watermark": "false"})
        if answer.status_code != 200:
            return answer.status_code, None
        return 200, decode_mp4(answer.content).size[0]


@pytest.mark.fault("S21", "A33")
@pytest.mark.parametrize(
    "times",
    [
        pytest.param(24, marks=pytest.mark.real, id="few"),
        pytest.param(4_000, marks=pytest.mark.torture, id="many"),
    ],
)
def test_nobody_is_shown_another_camera_than_the_one_asked_for(
    tmp_path: Path, rtsp_factory: Callable[..., RtspServer], times: int, counted: Callable[[object], None]
) -> None:
    server = rtsp_factory({f"look{n}": f"look{n}" for n in range(LOOKS)}, auth="none")
    with TcpRelay(server.port) as relay, Node(tmp_path / "node", settings=SETTINGS).init() as node:
        node.start()
        cameras = [node.add_camera(server.url(f"look{n}", port=relay.port)) for n in range(LOOKS)]
        halves = [frozenset(range(side, LOOKS, 2)) for side in (0, 1)]
        tokens = [_token(node, f"half {side}", [cameras[n] for n in half]) for side, half in enumerate(halves)]
        for camera in cameras:
            until(partial(node.footage, camera), 60, "footage of all")
        callers: list[tuple[str | None, frozenset[int] | None]] = [(None, None), *zip(tokens, halves, strict=True)]
        done, cuts = threading.Event(), [0]

        def storm() -> None:
            while not done.wait(2.0):
                cuts[0] += relay.reset()

        with ThreadPoolExecutor(READERS + 1) as pool:
            storming = pool.submit(storm)
            clients = [node.client(callers[n % 3][0]) for n in range(READERS)]
            readers = [Reader(client, cameras, callers[n % 3][1], n) for n, client in enumerate(clients)]
            results = [pool.submit(reader.read, times) for reader in readers]
            try:
                seen = [result.result() for result in results]
            finally:
                done.set()
            storming.result()
        for client in clients:
            client.close()
    right, refused, away = Counter[str](), Counter[str](), Counter[str]()
    for one in seen:
        right, refused, away = right + one.right, refused + one.refused, away + one.away
    wrong = [line for one in seen for line in one.wrong]
    counted(
        f"readers {READERS}, connections of cameras cut {cuts[0]}; pictures of the camera asked for {dict(right)}, "
        f"refused {dict(refused)}, away {dict(away)}, foreign {len(wrong)}"
    )
    assert not wrong, wrong[:5]
    assert right.total() >= times and min(right[way] for way in ("snapshot", "live", "playback", "clip")) > 0
    assert refused.total() > 0 and cuts[0] > 0


def _token(node: Node, label: str, cameras: list[str]) -> str:
    unit = node.cli("department", "add", label)["id"]
    for camera in cameras:
        node.cli("camera", "set", camera, "--sharing", "departments")
    chosen = [word for camera in cameras for word in ("--camera", camera)]
    functions = [word for name in SHARED for word in ("--function", name)]
    return str(node.cli("token", "issue", unit, "--label", label, *chosen, *functions, "--yes")["token"])


def test_a_foreign_picture_would_be_seen() -> None:
    """The known-bad twins."""
    for look, may, status, width in (
        (0, True, 200, 128),
        (0, False, 200, 96),
        (3, False, 503, None),
        (3, True, 500, None),
    ):
        seen = Seen()
        seen.judge("live", look, may, status, width)
        assert len(seen.wrong) == 1 and not seen.right and not seen.refused
