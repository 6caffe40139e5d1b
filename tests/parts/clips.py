"""Encoded clips, made once by Debian's ffmpeg into the cache and keyed by their recipe.

A clip starts on a key frame and its pictures repeat seamlessly enough to be looped for ever by `rtsp_server`.
Matroska, because it holds G.711 as well. `clip("tiny")` makes the clip if need be and answers its path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from tests.parts.cache import cache_dir

#: Part of every clip's key; raise it when the commands below change what a recipe gives.
_GENERATION = 1
_CJK_FONT = Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc")

Audio = Literal["aac", "pcm_alaw", "pcm_mulaw"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a clip contains. `picture` is a lavfi graph with {size}, {car} (size of a car) and {fps} to fill in."""

    name: str
    picture: str
    width: int
    height: int
    bit_rate_bps: int
    codec: Literal["h264", "hevc"] = "h264"
    fps: int = 25
    seconds: int = 10
    gop_frames: int = 50
    b_frames: int = 0
    audio: Audio | None = None

    @property
    def graph(self) -> str:
        car = f"{self.width // 18 * 2}x{self.height // 30 * 2}"
        return (
            self.picture.replace("{size}", f"{self.width}x{self.height}")
            .replace("{car}", car)
            .replace("{fps}", str(self.fps))
        )


#: How many recipes `look0`, `look1`, … there are.
LOOKS = 8
_MOVING = "testsrc2=size={size}:rate={fps},noise=alls=12:allf=t"
_BLACK = "color=c=black:size={size}:rate={fps}"
#: One picture for ever: what a camera with a hung sensor sends, key frames and all.
_FROZEN = "testsrc2=size={size}:rate={fps},trim=end_frame=1,loop=loop=-1:size=1:start=0,setpts=N/{fps}/TB"


def _scene(sky: str, ground: str, cars: tuple[str, str, str], label: str) -> str:
    """A street with three cars crossing it: something to watch. Each car's period divides a clip of 10 s."""

    def box(x: float, y: float, w: float, h: float, color: str) -> str:
        return f"drawbox=x=iw*{x:.3f}:y=ih*{y:.3f}:w=iw*{w:.3f}:h=ih*{h:.3f}:color={color}:t=fill"

    boxes = [box(0, 0.55, 1, 0.45, ground)]
    for x, top, width, floors in ((0.06, 0.20, 0.16, 5), (0.27, 0.31, 0.12, 3), (0.62, 0.12, 0.20, 6)):
        boxes.append(box(x, top, width, 0.58 - top, "0x626871"))
        for floor in range(floors):
            for column in range(int(width / 0.04)):
                boxes.append(box(x + 0.012 + column * 0.04, top + 0.03 + floor * 0.07, 0.018, 0.035, "0xd6cf9a"))
    boxes.append(box(0, 0.67, 1, 0.22, "0x3b3d40"))
    boxes += [box(0.02 + dash * 0.1, 0.777, 0.05, 0.008, "0xd8d8c8") for dash in range(10)]
    chain = [f"color=c={sky}:size={{size}}:rate={{fps}},{','.join(boxes)}[road0]"]
    lanes = ((0.695, 10.0, 1), (0.735, 5.0, 1), (0.81, 10 / 3, -1))  # height, period in s, direction
    for index, (color, (lane, period_s, direction)) in enumerate(zip(cars, lanes, strict=True)):
        way = f"mod(t/{period_s:.6f}\\,1)*(W+w)"
        x_expression = f"-w+{way}" if direction > 0 else f"W-{way}"
        chain.append(f"color=c={color}:size={{car}}:rate={{fps}}[car{index}]")
        chain.append(f"[road{index}][car{index}]overlay=x='{x_expression}':y=H*{lane}[road{index + 1}]")
    text = ""
    if _CJK_FONT.exists():
        text = (
            f",drawtext=fontfile={_CJK_FONT}:text='{label}':x=w*0.02:y=h*0.03:fontsize=h/22:fontcolor=white:"
            "borderw=2:bordercolor=black@0.7"
        )
    return ";".join(chain) + f";[road{len(lanes)}]noise=alls=7:allf=t{text}"


_SCENES = {
    "gate": _scene("0x8fb3cf", "0x7f8a6a", ("0xb23b3b", "0x2f4f7f", "0xe0e0da"), "North Gate 北门"),
    "market": _scene("0xd9b48a", "0x8d7b64", ("0x3f7f5f", "0xd9a441", "0x44444c"), "Market Street 市场街"),
    "bridge": _scene("0x9aa7b5", "0x5f6f78", ("0xdedede", "0x7f2f4f", "0x2f5f5f"), "River Bridge 大桥"),
    "school": _scene("0xb7d3c6", "0x86a07a", ("0xd8c23a", "0x505a9f", "0x9f4f2f"), "School Road 学校路"),
}


def _recipes() -> dict[str, Recipe]:
    def small(name: str, picture: str = _MOVING, **more: Any) -> Recipe:
        return Recipe(name, picture, 320, 180, 300_000, **({"gop_frames": 25} | more))

    recipes = [
        # As real cameras send: 4 Mbit/s main, half a megabit sub, key frame each 2 s.
        Recipe("main", _MOVING, 1920, 1080, 4_000_000),
        Recipe("sub", _MOVING, 640, 360, 500_000),
        Recipe("hevc", _MOVING, 1280, 720, 2_000_000, codec="hevc"),
        # Small and quick to make, send, record and decode: what most tests want.
        small("tiny"),
        small("tiny2", _MOVING + ",negate"),
        small("tiny_hevc", codec="hevc"),
        small("tiny_aac", audio="aac"),
        small("tiny_pcma", audio="pcm_alaw"),
        small("tiny_pcmu", audio="pcm_mulaw"),
        small("bframes", b_frames=2),
        small("long_gop", gop_frames=250),
        small("black", _BLACK),
        small("frozen", _FROZEN),
    ]
    # Told apart by their size in every row: for tests that must not mix up cameras. Cheap enough for hundreds.
    recipes += [Recipe(f"look{n}", _MOVING, 96 + 32 * n, 96, 60_000, fps=5, gop_frames=5) for n in range(LOOKS)]
    for name, picture in _SCENES.items():
        recipes.append(Recipe(f"{name}_main", picture, 1920, 1080, 4_000_000))
        recipes.append(Recipe(f"{name}_sub", picture, 640, 360, 500_000))
    recipes.append(Recipe("market_hevc", _SCENES["market"], 1920, 1080, 3_000_000, codec="hevc"))
    recipes.append(Recipe("bridge_audio", _SCENES["bridge"], 1920, 1080, 4_000_000, audio="pcm_alaw"))
    return {recipe.name: recipe for recipe in recipes}


RECIPES: dict[str, Recipe] = _recipes()


def _command(recipe: Recipe, target: Path) -> list[str]:
    rate = str(recipe.bit_rate_bps)
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", recipe.graph]
    if recipe.audio:
        command += ["-f", "lavfi", "-i", "sine=frequency=440:beep_factor=4"]
    command += ["-t", str(recipe.seconds), "-map", "0:v:0", "-pix_fmt", "yuv420p", "-g", str(recipe.gop_frames)]
    command += ["-b:v", rate, "-maxrate", rate, "-bufsize", rate]
    if recipe.codec == "h264":
        command += ["-c:v", "libx264", "-preset", "veryfast", "-profile:v", "high", "-sc_threshold", "0"]
        command += ["-keyint_min", str(recipe.gop_frames), "-bf", str(recipe.b_frames)]
    else:
        gop = recipe.gop_frames
        parameters = f"keyint={gop}:min-keyint={gop}:scenecut=0:bframes={recipe.b_frames}:open-gop=0:log-level=error"
        command += ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", parameters]
    if recipe.audio:
        command += ["-map", "1:a:0", "-c:a", recipe.audio, "-ac", "1"]
        command += ["-ar", "16000", "-b:a", "32k"] if recipe.audio == "aac" else ["-ar", "8000"]
    return [*command, "-f", "matroska", str(target)]


def make(recipe: Recipe) -> Path:
    """The path of the clip; made now if this recipe was never made on this machine."""
    key = hashlib.sha256(repr((_GENERATION, astuple(recipe))).encode()).hexdigest()[:12]
    folder = cache_dir() / "clips"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{recipe.name}-{key}.mkv"
    if path.exists():
        return path
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs at once make each clip once
        if not path.exists():
            part = path.with_suffix(".part")
            done = subprocess.run(_command(recipe, part), capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"ffmpeg could not make the clip {recipe.name}: {done.stderr[-2000:]}")
            os.replace(part, path)
    return path


def clip(name: str) -> Path:
    """The clip of the recipe `name` (see RECIPES)."""
    return make(RECIPES[name])
