"""A WebSocket frame around a fragment, as a server sends it. (pure)"""

from __future__ import annotations

import struct


def binary_frame(data: bytes) -> bytes:
    """One unfragmented, unmasked binary frame (RFC 6455 §5.2)."""
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", 0x82, size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x82, 126, size)
    else:
        head = struct.pack(">BBQ", 0x82, 127, size)
    return head + data
