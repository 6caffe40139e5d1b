"""Our WebSocket frame against a parser that is not ours."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from gateway.live.frames import binary_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 300_000])
def test_a_client_reads_what_was_framed(size: int) -> None:
    client = ClientProtocol(parse_uri("ws://127.0.0.1/"), max_size=None, state=State.OPEN)
    data = bytes(index % 253 for index in range(size))
    client.receive_data(binary_frame(data) + binary_frame(b"next"))
    first, second = client.events_received()
    assert isinstance(first, Frame)
    assert first.opcode is Opcode.BINARY
    assert bytes(first.data) == data
    assert isinstance(second, Frame)
    assert bytes(second.data) == b"next"
