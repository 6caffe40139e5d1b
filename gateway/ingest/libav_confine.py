"""Keeps libavformat's connections at the address that was checked, and ends them in time (FAULTS S6).

libavformat follows an RTSP redirect by itself, wherever it points, and has no option against it: whoever owns one
camera could make this node knock at any other machine, or record another one's pictures under the camera's name. No
check beforehand helps, for a camera may answer differently the second time. So the one call by which libavformat
connects, ``connect`` in its table of imported functions, is replaced by one that compares the address first. Linux on
64 bit ELF; where the table is not found, the log says so once and redirects are followed as before.

Knowing the socket also ends what has no end by itself: something that answers an RTSP client in HTTP is taken for a
server that asks, and both sides answer each other for ever; libavformat's own timeout sees bytes and is content.

Belongs here: that replacement. Does not belong here: which addresses are allowed (`gateway.cameras.address`).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import ipaddress
import logging
import mmap
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)

_LOAD, _DYNAMIC = 1, 2
_STRTAB, _SYMTAB, _PLT_SIZE, _PLT = 5, 6, 2, 23

#: tcpi_state (linux/tcp_states.h).
_ESTABLISHED, _SYN_SENT, _CLOSE = 1, 2, 7

_Connect = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32, use_errno=True)


class Connections:
    """The sockets of one session with a camera, so that they can be cut from outside: libavformat's own timeout ends
    no read to which a byte comes now and then (FAULTS A3).

    Duplicates, for libav closes its own and their numbers are used again: `close` when libav is done with them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._established = False
        self.was_cut = False

    def take(self, descriptor: int) -> bool:
        """False: this session is over and connects to nothing any more."""
        with self._lock:
            if self.was_cut:
                return False
            self._sockets.append(socket.socket(fileno=os.dup(descriptor)))
            return True

    def cut(self) -> None:
        with self._lock:
            self.was_cut = True
            self._look()
            for one in self._sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._lock:
            self._look()
            for one in self._sockets:
                one.close()
            self._sockets.clear()

    @property
    def established(self) -> bool:
        """Whether anything took a connection; False also after one that was refused."""
        with self._lock:
            self._look()
            return self._established

    @property
    def lost(self) -> bool:
        """Whether the other side reset a connection, or closed it without a word."""
        with self._lock:
            return any(state == _CLOSE or (state != _ESTABLISHED and not heard) for state, heard in self._states())

    def _look(self) -> None:
        self._established |= any(state not in (_SYN_SENT, _CLOSE) for state, _ in self._states())

    def _states(self) -> Iterator[tuple[int, int]]:
        """(tcpi_state, tcpi_bytes_received) of each connection (linux/tcp.h, struct tcp_info)."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
                yield told[0], struct.unpack_from("=Q", told.ljust(136, b"\0"), 128)[0]


class _Place(threading.local):
    """Of the thread that opens a camera."""

    only: bytes | None = None  #: packed address; None: this thread is not confined
    refused: bool = False
    connections: Connections | None = None


_place = _Place()
_lock = threading.Lock()
_kept: list[object] = []  #: what C holds pointers to must live as long as the process
_done = False


@contextlib.contextmanager
def confined_to(address: str, seconds: float, connections: Connections) -> Iterator[None]:
    """In this thread libavformat connects to this IP address only, by `connections`; after `seconds` they are cut."""
    _install()
    _place.only, _place.refused, _place.connections = ipaddress.ip_address(address).packed, False, connections
    timer = threading.Timer(seconds, connections.cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        _place.only = _place.connections = None
        timer.cancel()
        timer.join()


def was_refused() -> bool:
    """Whether in the last `confined_to` of this thread a connection to another address was asked for."""
    return _place.refused


def _allowed(address: int, length: int) -> bool:
    only = _place.only
    if only is None:
        return True
    raw = ctypes.string_at(address, min(length, 28))
    family = struct.unpack_from("=H", raw)[0]
    asked = raw[4:8] if family == socket.AF_INET else raw[8:24] if family == socket.AF_INET6 else b""
    return asked == only


def _install() -> None:
    global _done
    with _lock:
        if _done:
            return
        _done = True
        try:
            _replace()
        except (OSError, ValueError, LookupError, StopIteration, struct.error, AttributeError, MemoryError) as error:
            _log.warning("libavformat is not confined: redirects are followed", extra={"problem": str(error)})


def _replace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    real = libc.connect
    real.argtypes, real.restype = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint32), ctypes.c_int

    def connect(descriptor: int, address: int, length: int) -> int:
        try:
            if _allowed(address, length):
                if _place.connections is not None and not _place.connections.take(descriptor):
                    ctypes.set_errno(errno.ECONNABORTED)
                    return -1
                return int(real(descriptor, address, length))
        except Exception:
            _log.exception("a connection of libavformat could not be judged")
        _place.refused = True
        ctypes.set_errno(errno.EACCES)
        return -1

    ours = _Connect(connect)
    slot = _slot_of("libavformat", b"connect")
    _make_writable(libc, slot)
    _kept.append(ours)
    ctypes.c_void_p.from_address(slot).value = ctypes.cast(ours, ctypes.c_void_p).value


def _mapping(name: str) -> tuple[Path, int, int]:
    """(file, where it begins in memory, offset in the file mapped there) of a loaded library."""
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and name in Path(fields[5]).name:
            return Path(fields[5]), int(fields[0].partition("-")[0], 16), int(fields[2], 16)
    raise ValueError(f"{name} is not loaded")


def _slot_of(name: str, function: bytes) -> int:
    """Where the library keeps the address of an imported function. Raises ValueError."""
    path, start, start_offset = _mapping(name)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        if image[:6] != b"\x7fELF\x02\x01":
            raise ValueError("not a 64-bit little-endian ELF file")
        table, size, count = *struct.unpack_from("<Q", image, 32), *struct.unpack_from("<HH", image, 54)
        headers = [struct.unpack_from("<IIQQQQQQ", image, table + n * size) for n in range(count)]
        loads = [(h[3], h[2], h[5]) for h in headers if h[0] == _LOAD]  # (address, offset, size in file)
        page = ~(mmap.PAGESIZE - 1)
        low = next(address & page for address, offset, _ in loads if offset & page == start_offset)

        def offset_of(address: int) -> int:
            return int(next(offset + address - at for at, offset, length in loads if at <= address < at + length))

        dynamic = next(h for h in headers if h[0] == _DYNAMIC)
        entries = struct.iter_unpack("<QQ", image[dynamic[2] : dynamic[2] + dynamic[5] // 16 * 16])
        found = dict(entries)
        names, symbols = offset_of(found[_STRTAB]), offset_of(found[_SYMTAB])
        relocations = offset_of(found[_PLT])
        for at in range(relocations, relocations + found[_PLT_SIZE], 24):
            where, info, _ = struct.unpack_from("<QQq", image, at)
            text = names + struct.unpack_from("<I", image, symbols + (info >> 32) * 24)[0]
            if image[text : text + len(function) + 1] == function + b"\0":
                return int(start - low + where)
    raise ValueError(f"{path.name} does not import {function.decode()}")


def _make_writable(libc: ctypes.CDLL, slot: int) -> None:
    page = slot & ~(mmap.PAGESIZE - 1)
    protect = libc.mprotect
    protect.argtypes, protect.restype = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int), ctypes.c_int
    if protect(page, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
