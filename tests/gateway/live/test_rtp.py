"""RTP payloads of H.264: what a receiver puts together again is what the camera sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.live.rtp import MTU_BYTES, g711_pieces, h264_payloads, parameter_sets
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


def test_a_damaged_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves"):
        h264_payloads(b"\0\0\0\x09ab", False, SETS)


def test_g711_is_cut_with_its_own_times() -> None:
    assert [(at, len(piece)) for at, piece in g711_pieces(bytes(1100))] == [(0, 480), (480, 480), (960, 140)]
