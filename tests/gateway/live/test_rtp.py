"""RTP payloads of H.264, H.265 and sound: what a receiver puts together again is what the camera sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live.rtp import MTU_BYTES, aac_payload, g711_pieces, h264_payloads, h265_payloads, parameter_sets
from storage.media.codecs import join_length_prefixed, split_length_prefixed
from tests.media import access_units, encode_h264, stream_config

SETS = (b"\x67\x42\x00\x1f", b"\x68\xce")


def reassembled(payloads: list[bytes]) -> list[bytes]:
    """NAL units out of single NAL units and FU-A (RFC 6184 §5.8)."""
    nals: list[bytes] = []
    for payload in payloads:
        if payload[0] & 0x1F != 28:
            nals.append(payload)
            continue
        start, end = payload[1] & 0x80, payload[1] & 0x40
        assert not (start and end), "a fragmented unit has two packets at least"
        if start:
            nals.append(bytes((payload[0] & 0xE0 | payload[1] & 0x1F,)) + payload[2:])
        else:
            nals[-1] += payload[2:]
    return nals


@given(
    st.lists(st.tuples(st.sampled_from([0x61, 0x65, 0x06]), st.integers(1, 4000)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(20, 1500),
)
def test_pictures_survive_packetisation(shapes: list[tuple[int, int]], key: bool, mtu: int) -> None:
    nals = [bytes((head,)) + bytes(index % 251 for index in range(size)) for head, size in shapes]
    payloads = h264_payloads(join_length_prefixed(nals), key, SETS, mtu)
    assert max(map(len, payloads)) <= mtu
    assert reassembled(payloads) == ([*SETS] if key else []) + nals


def test_key_pictures_of_an_encoder_carry_sps_and_pps_and_no_delimiter() -> None:
    packets = encode_h264(1.0, size=(640, 360))
    config = stream_config("h264", packets)
    unit = access_units("h264", packets)[0]
    with_delimiter = join_length_prefixed([b"\x09\x10", *split_length_prefixed(unit.data)])
    payloads = h264_payloads(with_delimiter, True, parameter_sets(config))
    kinds = [nal[0] & 0x1F for nal in reassembled(payloads)]
    assert kinds[:2] == [7, 8]
    assert 9 not in kinds
    assert 5 in kinds
    assert len(payloads) > 3
    assert max(map(len, payloads)) <= MTU_BYTES


def reassembled_h265(payloads: list[bytes]) -> list[bytes]:
    """NAL units out of single NAL units and FUs (RFC 7798 §4.4.3)."""
    nals: list[bytes] = []
    for payload in payloads:
        if (payload[0] >> 1) & 0x3F != 49:
            nals.append(payload)
            continue
        start, end = payload[2] & 0x80, payload[2] & 0x40
        assert not (start and end), "a fragmented unit has two packets at least"
        if start:
            nals.append(bytes((payload[0] & 0x81 | (payload[2] & 0x3F) << 1, payload[1])) + payload[3:])
        else:
            nals[-1] += payload[3:]
    return nals


@given(
    st.lists(st.tuples(st.sampled_from([0x02, 0x26, 0x28, 0x4E]), st.integers(2, 4000)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(20, 1500),
)
def test_h265_pictures_survive_packetisation(shapes: list[tuple[int, int]], key: bool, mtu: int) -> None:
    sets = (b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1")
    nals = [bytes((head, 1)) + bytes(index % 251 for index in range(size - 2)) for head, size in shapes]
    delimited = join_length_prefixed([b"\x46\x01\x50", *nals, b"\x02"])
    payloads = h265_payloads(delimited, key, sets, mtu)
    assert max(map(len, payloads)) <= mtu
    assert reassembled_h265(payloads) == ([*sets] if key else []) + nals


def test_an_aac_frame_says_its_size() -> None:
    assert aac_payload(b"abc") == b"\x00\x10\x00\x18abc"
    assert len(aac_payload(bytes(8191))) == 8195
    with pytest.raises(ValueError, match="8 KiB"):
        aac_payload(bytes(8192))


def test_a_damaged_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        h265_payloads(b"\0\0\0\x09ab", False, SETS)
    with pytest.raises(ValueError, match="leaves"):
        h264_payloads(b"\0\0\0\x09ab", False, SETS)


def test_g711_is_cut_with_its_own_times() -> None:
    assert [(at, len(piece)) for at, piece in g711_pieces(bytes(1100))] == [(0, 480), (480, 480), (960, 140)]
