"""Packages for tests: asked of a real web process; taken apart and put together again by whoever tampers with them."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection

from config.ids import ulid
from gateway.evidence import verifier
from storage.catalog import cameras, gaps
from storage.catalog.gaps import GapRow
from storage.media.access_unit import AccessUnit
from tests.gateway.watching import WALL_MS, Rig
from tests.media import access_units, encode_h264, stream_config

PACKETS = encode_h264(4.0, gop=25)
UNITS = access_units("h264", PACKETS)
CONFIG = stream_config("h264", PACKETS)
GAP = GapRow("01K5QZZZZZZZZZZZZZZZZZZZZZ", "", "main", "network", WALL_MS + 4_000, WALL_MS + 10_000, WALL_MS + 10_000)


def later(units: list[AccessUnit], seconds: int) -> list[AccessUnit]:
    """The same pictures another time, in a run of their own."""
    return [replace(u, wall_ns=u.wall_ns + seconds * 1_000_000_000, epoch=seconds) for u in units]


async def second_camera(node: Rig) -> Rig:
    """The same node with another camera in the place of the first."""

    def make(connection: Connection) -> str:
        new = cameras.NewCamera("yard", "210102", (("main", "rtsp://10.0.0.2/main", None),))
        return cameras.create_camera(connection, new, "district", 32, node.services.now_ms()).id

    return replace(node, camera_id=await node.services.write(make))


async def footage_with_a_gap(node: Rig) -> Rig:
    """Two cameras, one of them with a named gap between spool and store; the second camera."""
    await node.record(CONFIG, UNITS, segment_ms=2000)
    await node.record(CONFIG, later(UNITS, 10), to_store=True)
    await node.services.write(lambda c: gaps.insert_gap(c, replace(GAP, camera_id=node.camera_id)))
    other = await second_camera(node)
    await other.record(CONFIG, UNITS)
    return other


async def ask(
    node: Rig, headers: dict[str, str], *others: Rig, from_s: float = 0, to_s: float = 14, **more: str
) -> httpx.Response:
    parameters: dict[str, Any] = {
        "camera": [one.camera_id for one in (node, *others)],
        "from": str(WALL_MS + round(from_s * 1000)),
        "to": str(WALL_MS + round(to_s * 1000)),
        "reason": "fight at the gate",
        "case_no": "A-7",
    }
    return await node.http.get("/api/v1/exports/evidence.zip", params=parameters | more, headers=headers)


def files_of(data: bytes) -> dict[str, bytes]:
    """As an ordinary unpacker reads them."""
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        assert package.testzip() is None
        return {name: package.read(name) for name in package.namelist()}


def manifest_of(data: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(files_of(data)[verifier.MANIFEST])
    return value


def zipped(files: list[tuple[str, bytes]]) -> bytes:
    """A ZIP as a package is written, of whatever files."""
    out, directory = bytearray(), bytearray()
    for name, data in files:
        directory += verifier.central_header(name, len(data), zlib.crc32(data), len(out))
        out += verifier.local_header(name, len(data), zlib.crc32(data)) + data
    return bytes(out + directory) + verifier.directory_end(len(files), len(directory), len(out))


class Judge:
    """The program of a package, taken out of it and run on its own: another folder, nothing of this checkout."""

    def __init__(self, folder: Path, program: bytes) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.program = folder / "verify_evidence.py"
        self.program.write_bytes(program)

    def judge(self, package: bytes | Path, *more: str) -> tuple[int, dict[str, Any]]:
        """Exit status and what it says."""
        path = package if isinstance(package, Path) else self.folder / "package.zip"
        if isinstance(package, bytes):
            path.write_bytes(package)
        done = self.run(str(path), "--json", *more)
        value: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, value

    def run(self, *arguments: str, program: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        done = subprocess.run(
            [sys.executable, "-I", str(program or self.program), *arguments],
            capture_output=True, text=True, cwd=self.folder, env=environment, timeout=120, check=False,
        )  # fmt: skip
        assert done.stderr == "", done.stderr
        return done

    def unpacked(self, package: bytes) -> Path:
        folder = self.folder / "unpacked"
        shutil.rmtree(folder, ignore_errors=True)
        with zipfile.ZipFile(io.BytesIO(package)) as opened:
            opened.extractall(folder)
        return folder


def some_id() -> str:
    return ulid(1, os.urandom(10))
