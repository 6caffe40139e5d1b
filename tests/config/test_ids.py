"""Camera ids, region codes and ULIDs: vectors of REQUIREMENTS §3.1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.errors import TiergateError
from config.ids import CameraId, centre_code, default_parent, is_ulid, next_camera_id, region_code, ulid


def test_a_camera_id_is_taken_apart_as_rule_a_says() -> None:
    parsed = CameraId.parse("21021101001326000001")
    assert (parsed.centre, parsed.industry, parsed.type, parsed.network, parsed.serial) == (
        "21021101",
        "00",
        "132",
        "6",
        "000001",
    )
    assert str(parsed) == "21021101001326000001"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2102110100132600000",
        "210211010013260000011",
        "2102110100132600000a",
        "２１０２１１０１００１３２６０００００１",
        "21021101009996000001",
    ],
)
def test_other_texts_are_no_camera_ids(text: str) -> None:
    with pytest.raises(TiergateError):
        CameraId.parse(text)


def test_generated_ids_fill_the_lowest_free_serial() -> None:
    centre = centre_code("210211001003")
    assert centre == "21021100"
    first = next_camera_id(centre, set())
    assert first == "21021100011326000001"
    assert next_camera_id(centre, {first, "21021100011326000003"}).endswith("000002")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("210211000000", "210211"),
        ("210200000000", "2102"),
        ("210211001000", "210211001"),
        ("210211001003", "210211001003"),
        ("21", "21"),
    ],
)
def test_region_codes_lose_their_padding(text: str, code: str) -> None:
    assert region_code(text) == code


@pytest.mark.parametrize("text", ["", "2", "21021", "2102110010", "abc", "2102110010031"])
def test_other_texts_are_no_region_codes(text: str) -> None:
    with pytest.raises(TiergateError):
        region_code(text)


def test_the_parent_by_prefix_is_one_level_up() -> None:
    assert [default_parent(c) for c in ("210211001003", "210211001", "210211", "2102", "21")] == [
        "210211001",
        "210211",
        "2102",
        "21",
        None,
    ]


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ulids_sort_by_time(a_ms: int, b_ms: int, entropy: bytes) -> None:
    a, b = ulid(a_ms, entropy), ulid(b_ms, entropy)
    assert is_ulid(a) and (a < b) == (a_ms < b_ms)
