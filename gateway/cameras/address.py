"""Which addresses a camera may have (FAULTS S6): an allow-list of networks, resolved once, pinned.

A camera URL is typed by people and returned by devices; either may point at the metadata service, at this machine's
own ports or at somebody else's server. A host is resolved once, every address it has must lie in an allowed network,
and the connection goes to the address that was checked, not to the name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from config.errors import Kind, TiergateError


def address_is_allowed(address: str, networks: Sequence[str]) -> bool:
    """Whether one IP address lies in a network of the list. IPv4 inside IPv6 is judged as the IPv4 it is."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        return False
    parsed = (ipaddress.ip_network(n) for n in networks)
    return any(ip.version == network.version and ip in network for network in parsed)


def allowed_address(host: str, networks: Sequence[str]) -> str:
    """The IP address to connect to for `host`. Blocks while it resolves: call it in a thread.

    Raises camera.address_unresolvable, camera.address_not_allowed (when *any* of the host's addresses is outside).
    """
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError) as exc:
        raise TiergateError(Kind.INVALID, "camera.address_unresolvable", host=host[:120]) from exc
    addresses = sorted(str(a) for a in found)
    if not addresses or not all(address_is_allowed(a, networks) for a in addresses):
        raise TiergateError(Kind.INVALID, "camera.address_not_allowed", host=host[:120], networks=", ".join(networks))
    return addresses[0]


def pinned_url(url: str, networks: Sequence[str]) -> str:
    """`url` with its host replaced by the checked address; user information must have been taken out before."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None:
        raise TiergateError(Kind.INVALID, "camera.url_malformed", url=url[:200])
    address = allowed_address(host, networks)
    shown = f"[{address}]" if ":" in address else address
    return urlunsplit((parts.scheme, shown + (f":{port}" if port else ""), parts.path, parts.query, ""))
