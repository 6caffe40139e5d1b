"""Kinds of places in which cameras stand, and those in which none may (Order 799, article 8). (pure)"""

from __future__ import annotations

from config.errors import Kind, TiergateError

#: Where no camera may ever stand: rooms in which people sleep, wash, change, are treated or confess.
FORBIDDEN = frozenset(
    {
        "hotel_room",
        "guest_room",
        "dormitory",
        "bathroom",
        "bathhouse",
        "toilet",
        "changing_room",
        "fitting_room",
        "nursing_room",
        "ward",
        "treatment_room",
        "massage_room",
        "private_home",
        "confessional",
    }
)

#: Places offered at registration; kinds of key places follow GB/T 28181's position types.
ALLOWED = (
    "street",
    "crossing",
    "traffic_artery",
    "checkpoint",
    "square",
    "station",
    "market",
    "commercial_centre",
    "stadium",
    "park",
    "school_surroundings",
    "religious_site_outside",
    "government_office",
    "service_hall",
    "command_room",
    "entrance",
    "residential_compound",
    "car_park",
    "corridor",
    "warehouse",
    "construction_site",
    "river",
    "forest",
    "scenic_spot",
    "other",
)


def check_site_type(site_type: str) -> str:
    """`site_type` in its stored form. Raises access.place_forbidden, access.site_type_unknown."""
    name = site_type.strip().lower().replace("-", "_").replace(" ", "_")
    if name in FORBIDDEN:
        raise TiergateError(Kind.INVALID, "access.place_forbidden", site_type=name)
    if name not in ALLOWED:
        raise TiergateError(Kind.INVALID, "access.site_type_unknown", site_type=name[:40], known=", ".join(ALLOWED))
    return name
