"""A shared wall: what its account and the person on duty both may, of looking alone; with nobody on duty, nothing."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tiering.test_access import CAMERA, MINUTE, NOW, of_unit, user
from tiering.access import Facts, Function, Grant, Wall, allowed_ranges, decide, watermarked


@given(of_unit(), of_unit(), st.sampled_from(["live", "playback", "export"]), st.integers(0, 3))
@settings(max_examples=300)
def test_a_wall_is_an_intersection_of_looking_alone(
    person: tuple[Grant, ...], shared: tuple[Grant, ...], name: str, quarter: int
) -> None:
    range_ = Facts(from_ms=NOW - 40 * MINUTE + quarter * 10 * MINUTE, to_ms=NOW)
    facts = range_ if name != "live" else Facts(stream="sub")
    function = Function(name)
    wall = Wall("w1", "hall", "大屏", "dep1", frozenset(), shared, NOW + MINUTE)
    manned = user(*person, department_id="dep1", wall=wall)
    both = [user(*person, department_id="dep1"), user(*shared, department_id="dep1")]
    seen, alone = decide(manned, function, CAMERA, NOW, facts), [decide(p, function, CAMERA, NOW, facts) for p in both]
    assert seen.allow == (all(d.allow for d in alone) and name != "export")
    assert seen.visible == all(d.visible for d in alone)
    if seen.allow:
        assert seen.until_ms is not None and seen.until_ms <= NOW + MINUTE
    if name != "live":
        parts = [allowed_ranges(p, function, CAMERA, NOW, facts) for p in both]
        inside = [(max(a, c), min(b, d)) for a, b in parts[0] for c, d in parts[1] if max(a, c) < min(b, d)]
        assert allowed_ranges(manned, function, CAMERA, NOW, facts) == (inside if name != "export" else [])
    for empty in (
        replace(manned, wall=replace(wall, until_ms=None)),
        replace(manned, wall=replace(wall, until_ms=NOW)),
    ):
        off = decide(empty, function, CAMERA, NOW, facts)
        assert not off.allow and off.visible == alone[1].visible
        assert off.reason.code == ("access.nobody_on_duty" if off.visible else "access.not_found")
        assert allowed_ranges(empty, function, CAMERA, NOW, facts) == []


def test_pictures_at_a_wall_carry_a_name_and_what_is_done_there_names_both() -> None:
    wall = Wall("w1", "hall", "大屏", None, frozenset({"operator"}), (), NOW + MINUTE)
    manned = user(roles=("operator",), wall=wall)
    assert watermarked(manned) and not watermarked(user(roles=("operator",)))
    assert manned.actor == "user:li wall:hall"
    assert replace(manned, wall=replace(wall, until_ms=None)).actor == "wall:hall"
