"""The font that a mark in a clip is drawn with: the one of the settings, else the first that Debian has installed.

Belongs here: finding it, and which characters it lacks. Does not belong here: drawing (`gateway.processes.marking`).
A font is never committed or carried along: scripts/install brings one with Chinese characters, docs/operations.md names
the packages. Where none is, the library's own draws Latin letters.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from config.errors import Kind, TiergateError

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

#: Debian's fonts-noto-cjk, fonts-wqy-microhei, fonts-wqy-zenhei, fonts-droid-fallback.
PLACES = (
    Path("/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"),
    Path("/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"),
    Path("/usr/share/fonts/truetype/wqy/wqy-zenhei.ttc"),
    Path("/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"),
)
_FACES = 16  #: of a collection; Noto Sans CJK has ten
_NO_CHARACTER = "\uffff"  #: Unicode guarantees that this never is one: it shows what a font draws for what it lacks
_SAMPLE_SIZE = 24


def load(chosen: Path | None, size: int, places: Iterable[Path] = PLACES) -> Font:
    """Raises media.mark_font for a chosen one that cannot be read."""
    if chosen is not None:
        try:
            return _simplified(chosen, size)
        except OSError as exc:
            raise TiergateError(Kind.ENVIRONMENT, "media.mark_font", file=chosen) from exc
    for place in places:
        try:
            return _simplified(place, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _simplified(place: Path, size: int) -> ImageFont.FreeTypeFont:
    """Of a collection for several languages the face for simplified Chinese. Raises OSError."""
    first = ImageFont.truetype(str(place), size, 0, layout_engine=ImageFont.Layout.BASIC)
    for index in range(1, _FACES if place.suffix == ".ttc" else 1):
        try:
            face = ImageFont.truetype(str(place), size, index, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            break
        if (face.getname()[0] or "").endswith(" SC"):
            return face
    return first


def lacking(chosen: Path | None, text: str, places: Iterable[Path] = PLACES) -> str:
    """The characters of `text` that the font does not have. Raises media.mark_font."""
    font = load(chosen, _SAMPLE_SIZE, places)
    nothing = _sample(font, _NO_CHARACTER)
    return "".join(c for c in dict.fromkeys(text) if not c.isspace() and _sample(font, c) == nothing)


def _sample(font: Font, character: str) -> bytes:
    image = Image.new("L", (2 * _SAMPLE_SIZE, 2 * _SAMPLE_SIZE))
    ImageDraw.Draw(image).text((0, 0), character, 255, font)
    return image.tobytes()
