"""Which callers are one: what limits are counted by. (pure)

Belongs here: the key. Does not belong here: what is counted (`gateway.web.limits`, `gateway.access.passwords`).
"""

from __future__ import annotations

import ipaddress


def network_of(address: str) -> str:
    """One household of IPv6 has 2^64 addresses: they are one caller."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address  # "local": the admin socket
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is None:
            return str(ipaddress.IPv6Network((int(found) & ~0xFFFF_FFFF_FFFF_FFFF, 64)))
        found = found.ipv4_mapped
    return str(found)
