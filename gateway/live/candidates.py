"""Which addresses of a viewer's offer are believed (FAULTS S27). Looks nothing up.

ICE sends connectivity checks (STUN, RFC 8445 §7.2.4) to every candidate of an offer, and an offer says what its sender
likes: a machine behind our firewall, the metadata service, a port of our own. So a candidate stays only when it is the
address from which the viewer asked, or lies in a network of `live.allowed_networks`. Nobody is shut out by that: a
browser checks our candidates from its side, and the address from which its check comes, signed with the password of
our answer, is the one we then send to (peer-reflexive, RFC 8445 §7.3.1.3).

Browsers hide their host address behind a name under .local (draft-ietf-mmusic-mdns-ice-candidates), which multicast
resolves up to the first router only, and to whatever the first to answer says. Such a name stands for the address from
which the viewer asked; no name is ever resolved.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.cameras.address import address_is_allowed

_CANDIDATE = "a=candidate:"
_ADDRESS, _TYPE = 4, 7  #: fields of a candidate-attribute, RFC 8839 §5.1


@dataclass(frozen=True, slots=True)
class Sifted:
    """An offer of whose candidates only those that are allowed are left."""

    sdp: str
    kept: int
    refused: int

    @property
    def waits_for_us(self) -> bool:
        """The viewer is an ICE lite peer, which answers checks and makes none: without a candidate nothing connects."""
        return not self.kept and "a=ice-lite" in self.sdp.splitlines()


def sifted(sdp: str, client_host: str | None, networks: Sequence[str], *, loopback: bool) -> Sifted:
    """`sdp` without the candidates that are not allowed.

    `client_host` is the address from which the viewer asked, None when it has none. One of loopback counts only where
    the web listens on loopback (`loopback`): else it is a proxy's, and the ports behind it are this machine's own.
    """
    own = _canonical(client_host or "")
    if own is not None and ipaddress.ip_address(own).is_loopback and not loopback:
        own = None
    lines: list[str] = []
    kept = refused = 0
    for line in sdp.splitlines():  # as aiortc does: what it would read as a line is judged as one
        if not line.startswith(_CANDIDATE):
            lines.append(line)
            continue
        judged = _judged(line, own, networks)
        if judged is None:
            refused += 1
        else:
            kept += 1
            lines.append(judged)
    if refused:
        # "No more to come" would end the session before the viewer's own checks tell where it is.
        lines = [line for line in lines if line != "a=end-of-candidates"]
    return Sifted("".join(f"{line}\r\n" for line in lines), kept, refused)


def _judged(line: str, own: str | None, networks: Sequence[str]) -> str | None:
    fields = line.removeprefix(_CANDIDATE).split()
    if len(fields) <= _TYPE:
        return None
    if fields[_TYPE] == "host" and fields[_ADDRESS].lower().endswith(".local") and own is not None:
        fields[_ADDRESS] = own
    address = _canonical(fields[_ADDRESS])
    if address is None or (address != own and not address_is_allowed(address, networks)):
        return None
    return _CANDIDATE + " ".join(fields)


def _canonical(address: str) -> str | None:
    """One spelling per IP address, IPv4 inside IPv6 as the IPv4 it is; None for a name."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return str(mapped or ip)
