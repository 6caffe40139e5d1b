"""WS-Discovery: asks the network once who is an ONVIF device.

One UDP datagram to 239.255.255.250:3702 and some seconds of listening; no library, because the one there is loses its
threads on hosts with IPv6 (MEASUREMENTS A2). Answers are claims of whoever sent them: nothing is registered from here.
"""

from __future__ import annotations

import asyncio
import socket
import uuid
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lxml import etree

from gateway.cameras import device_xml

GROUP = ("239.255.255.250", 3702)
_MAX_DATAGRAM_BYTES = 65_507

_PROBE = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope" '
    'xmlns:w="http://schemas.xmlsoap.org/ws/2004/08/addressing" '
    'xmlns:d="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
    'xmlns:n="http://www.onvif.org/ver10/network/wsdl"><e:Header>'
    "<w:MessageID>uuid:{message_id}</w:MessageID>"
    "<w:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</w:To>"
    "<w:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</w:Action></e:Header>"
    "<e:Body><d:Probe><d:Types>n:NetworkVideoTransmitter</d:Types></d:Probe></e:Body></e:Envelope>"
)


@dataclass(frozen=True, slots=True)
class Found:
    """One device that answered; `address` is the host of its service address."""

    address: str
    url: str
    name: str
    hardware: str


def parse_answer(datagram: bytes) -> Found | None:
    """A ProbeMatch as a value; None for anything else. Total on hostile input."""
    if len(datagram) > _MAX_DATAGRAM_BYTES:
        return None
    try:
        tree = device_xml.parse(datagram)
    except ValueError:
        return None
    words: dict[str, str] = {}
    for element in tree.iter():
        if isinstance(element.tag, str):
            words.setdefault(etree.QName(element).localname, (element.text or "").strip())
    for url in words.get("XAddrs", "").split():
        try:
            host = urlsplit(url).hostname
        except ValueError:
            continue
        if host:
            scopes = words.get("Scopes", "").split()
            return Found(host, url[:300], _scope(scopes, "name"), _scope(scopes, "hardware"))
    return None


def _scope(scopes: list[str], kind: str) -> str:
    prefix = f"onvif://www.onvif.org/{kind}/"
    return next((unquote(s[len(prefix) :])[:120] for s in scopes if s.lower().startswith(prefix)), "")


class _Listener(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.found: dict[str, Found] = {}

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        answer = parse_answer(data)
        if answer is not None and len(self.found) < 1_000:
            self.found.setdefault(answer.url, answer)


async def discover(seconds: float, group: tuple[str, int] = GROUP) -> list[Found]:
    """Devices that answered within `seconds`, by address."""
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
    transport, listener = await loop.create_datagram_endpoint(_Listener, sock=sock)
    try:
        transport.sendto(_PROBE.format(message_id=uuid.uuid4()).encode(), group)
        await asyncio.sleep(seconds)
    finally:
        transport.close()
    return sorted(listener.found.values(), key=lambda f: f.address)
