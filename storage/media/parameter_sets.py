"""H.264 and H.265 parameter sets: what an SPS says, and nothing more of it than tiergate needs. (pure)

Belongs here: bit reading with bounded work, SPS/VPS/PPS parsing, the identifier of a parameter set.
Does not belong here: NAL unit framing, decoder configuration records, codec strings (`storage.media.codecs`).

The bytes come from cameras and from files of strangers. Every function is total: it returns or raises ValueError.
Parsing stops after the last field that is needed, because real encoders put broken VUI and extensions behind it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: An SPS is 20-100 bytes in the wild; beyond this the input is not a parameter set.
PARAMETER_SET_MAX_BYTES = 4096

#: H.264 profile_idc values that carry chroma_format_idc (ITU-T H.264 §7.3.2.1.1).
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})

#: Level 6.2 of both standards ends at 16 888 pixels a side; more is a lie or an attack on somebody's allocator.
_MAX_SIDE = 16_888


class BitReader:
    """Reads an RBSP most significant bit first; past the end it raises ValueError."""

    __slots__ = ("_data", "_end", "_pos")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0
        self._end = len(data) * 8

    def bits(self, count: int) -> int:
        pos, stop = self._pos, self._pos + count
        if stop > self._end:
            raise ValueError("parameter set ends early")
        self._pos = stop
        chunk = int.from_bytes(self._data[pos >> 3 : (stop + 7) >> 3], "big")
        return (chunk >> (-stop & 7)) & ((1 << count) - 1)

    def flag(self) -> bool:
        return self.bits(1) == 1

    def skip(self, count: int) -> None:
        self._pos += count
        if self._pos > self._end:
            raise ValueError("parameter set ends early")

    def ue(self) -> int:
        """ue(v), at most 32 leading zeros (H.264 §9.1)."""
        zeros = 0
        while not self.bits(1):
            zeros += 1
            if zeros > 32:
                raise ValueError("Exp-Golomb code is too long")
        return (1 << zeros) - 1 + (self.bits(zeros) if zeros else 0)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) >> 1 if code & 1 else -(code >> 1)


def rbsp(nal: bytes, header_bytes: int) -> bytes:
    """The payload behind the NAL header, emulation prevention bytes removed (H.264 §7.4.1)."""
    if len(nal) <= header_bytes:
        raise ValueError("parameter set is empty")
    if len(nal) > PARAMETER_SET_MAX_BYTES:
        raise ValueError("parameter set is too long")
    return nal[header_bytes:].replace(b"\0\0\3", b"\0\0")


@dataclass(frozen=True, slots=True)
class H264Sps:
    sps_id: int
    profile_idc: int
    constraint_flags: int
    level_idc: int
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class H265Sps:
    sps_id: int
    max_sub_layers: int
    temporal_id_nesting: bool
    profile_tier_level: bytes  #: the 12 general bytes: space/tier/profile, compatibility, constraints, level
    chroma_format_idc: int
    bit_depth_luma: int
    bit_depth_chroma: int
    width: int
    height: int


def _check_size(width: int, height: int) -> None:
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise ValueError(f"picture size {width}x{height} is impossible")


def parse_h264_sps(nal: bytes) -> H264Sps:
    """Parse a whole SPS NAL unit as far as the cropping (ITU-T H.264 §7.3.2.1.1)."""
    if not nal or nal[0] & 0x1F != 7:
        raise ValueError("not an H.264 SPS")
    r = BitReader(rbsp(nal, 1))
    profile, constraints, level = r.bits(8), r.bits(8), r.bits(8)
    sps_id = r.ue()
    if sps_id > 31:
        raise ValueError("seq_parameter_set_id out of range")
    chroma, depth_luma, depth_chroma, separate_planes = 1, 8, 8, False
    if profile in _HIGH_PROFILES:
        chroma = r.ue()
        if chroma > 3:
            raise ValueError("chroma_format_idc out of range")
        if chroma == 3:
            separate_planes = r.flag()
        depth_luma, depth_chroma = 8 + r.ue(), 8 + r.ue()
        if depth_luma > 14 or depth_chroma > 14:
            raise ValueError("bit depth out of range")
        r.skip(1)
        if r.flag():
            for index in range(12 if chroma == 3 else 8):
                if r.flag():
                    _skip_scaling_list(r, 16 if index < 6 else 64)
    if r.ue() > 12:
        raise ValueError("log2_max_frame_num out of range")
    order_type = r.ue()
    if order_type == 0:
        r.ue()
    elif order_type == 1:
        r.skip(1)
        r.se()
        r.se()
        cycle = r.ue()
        if cycle > 255:
            raise ValueError("num_ref_frames_in_pic_order_cnt_cycle out of range")
        for _ in range(cycle):
            r.se()
    elif order_type != 2:
        raise ValueError("pic_order_cnt_type out of range")
    r.ue()
    r.skip(1)
    width = (r.ue() + 1) * 16
    map_units = r.ue() + 1
    frame_mbs_only = r.flag()
    height = map_units * 16 * (1 if frame_mbs_only else 2)
    if not frame_mbs_only:
        r.skip(1)
    r.skip(1)
    if r.flag():
        array_type = 0 if separate_planes else chroma
        unit_x = 2 if array_type in (1, 2) else 1
        unit_y = (2 if array_type == 1 else 1) * (1 if frame_mbs_only else 2)
        left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
        width -= (left + right) * unit_x
        height -= (top + bottom) * unit_y
    _check_size(width, height)
    return H264Sps(sps_id, profile, constraints, level, chroma, depth_luma, depth_chroma, width, height)


def _skip_scaling_list(r: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + r.se()) & 0xFF
        last = following or last


def parse_h265_sps(nal: bytes) -> H265Sps:
    """Parse a whole SPS NAL unit as far as the bit depths (ITU-T H.265 §7.3.2.2.1)."""
    if len(nal) < 2 or (nal[0] >> 1) & 0x3F != 33:
        raise ValueError("not an H.265 SPS")
    data = rbsp(nal, 2)
    r = BitReader(data)
    r.skip(4)
    sub_layers = r.bits(3)
    if sub_layers > 6:
        raise ValueError("sps_max_sub_layers_minus1 out of range")
    nesting = r.flag()
    r.skip(96)
    present = [(r.flag(), r.flag()) for _ in range(sub_layers)]
    if sub_layers:
        r.skip(2 * (8 - sub_layers))
    for has_profile, has_level in present:
        r.skip((88 if has_profile else 0) + (8 if has_level else 0))
    sps_id = r.ue()
    if sps_id > 15:
        raise ValueError("sps_seq_parameter_set_id out of range")
    chroma = r.ue()
    if chroma > 3:
        raise ValueError("chroma_format_idc out of range")
    separate_planes = r.flag() if chroma == 3 else False
    width, height = r.ue(), r.ue()
    if r.flag():
        unit_x = 2 if chroma in (1, 2) and not separate_planes else 1
        unit_y = 2 if chroma == 1 else 1
        left, right, top, bottom = r.ue(), r.ue(), r.ue(), r.ue()
        width -= (left + right) * unit_x
        height -= (top + bottom) * unit_y
    _check_size(width, height)
    depth_luma, depth_chroma = 8 + r.ue(), 8 + r.ue()
    if depth_luma > 16 or depth_chroma > 16:
        raise ValueError("bit depth out of range")
    return H265Sps(
        sps_id, sub_layers + 1, nesting, data[1:13], chroma, depth_luma, depth_chroma, width, height
    )  # fmt: skip


def h264_set_key(nal: bytes) -> tuple[int, int]:
    """(NAL type, identifier): a later set with the same key replaces an earlier one (H.264 §7.4.1.2.1)."""
    kind = nal[0] & 0x1F if nal else 0
    if kind == 7:
        r = BitReader(rbsp(nal, 1))
        r.skip(24)
        return kind, r.ue()
    if kind == 8:
        return kind, BitReader(rbsp(nal, 1)).ue()
    raise ValueError("not an H.264 parameter set")


def h265_set_key(nal: bytes) -> tuple[int, int]:
    """(NAL type, identifier) of a VPS, SPS or PPS (H.265 §7.4.2.4.2)."""
    kind = (nal[0] >> 1) & 0x3F if nal else 0
    if kind == 32:
        return kind, BitReader(rbsp(nal, 2)).bits(4)
    if kind == 33:
        return kind, parse_h265_sps(nal).sps_id
    if kind == 34:
        return kind, BitReader(rbsp(nal, 2)).ue()
    raise ValueError("not an H.265 parameter set")
