"""Speaking with systemd without a library: READY, WATCHDOG, STOPPING (sd_notify(3)). Silent when it is not there."""

from __future__ import annotations

import os
import socket


def notify(message: str) -> bool:
    """Whether somebody was told."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or address[0] not in "/@":
        return False
    if address[0] == "@":  # the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(address)
            channel.send(message.encode())
    except OSError:
        return False
    return True


def watchdog_interval_s() -> float | None:
    """Within which systemd wants to hear from this process; None: it does not."""
    usec, pid = os.environ.get("WATCHDOG_USEC"), os.environ.get("WATCHDOG_PID")
    if not usec or not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
