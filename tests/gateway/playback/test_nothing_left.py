"""Pictures made of footage live as long as the request that wants them: kill -9 of the worker leaves none. (I11)"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from gateway.web.routers.media import ENTRY
from tests.gateway.watching import WALL_MS, Rig, rig
from tests.media import access_units, encode_h264, stream_config
from tests.parts.wait import until_async

pytestmark = pytest.mark.real

REPOSITORY = Path(__file__).parents[3]
PACKETS = encode_h264(4.0, fps=10, gop=10, size=(640, 360))
SECONDS = 120
#: What the processes write that shows nothing: rows, signs of life, locks, sockets.
LOG = "worker.log"
NO_PICTURES = ("data/catalog/", "data/run/", "data/keys/", LOG)
_CHUNK = 48  #: bytes of a picture by which it is known again


class Worker:
    """The worker as a process of its own, in its own folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    async def start(self) -> None:
        ready = self._folder / "data" / "run" / "worker.ready"
        ready.unlink(missing_ok=True)
        self._launch()

        async def is_ready() -> bool:
            return ready.exists()

        await until_async(is_ready, 30, "the worker is ready")

    def _launch(self) -> None:
        environment = {**os.environ, "TMPDIR": str(self._folder / "tmp"), "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, "-m", "gateway.processes.worker", "--config", str(self._folder / "tiergate.toml")]
        with (self._folder / LOG).open("ab") as log:
            self._popen = subprocess.Popen(
                command, cwd=self._folder / "cwd", env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self._popen is not None
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait(10)
        if self._popen.stdin is not None:
            self._popen.stdin.close()

    def children(self) -> list[int]:
        found = []
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            found += [int(pid) for pid in (task / "children").read_text().split()]
        return found


@pytest.fixture
async def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Rig, Worker]]:
    """The web process is this one; its temporary files go where the test looks."""
    for name in ("tmp", "cwd", "data"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tiergate.toml").write_text('[node]\nregion = "210102"\n[paths]\ndata = "data"\n')
    async with rig(tmp_path / "data") as made:
        await made.worker.close()
        worker = Worker(tmp_path)
        await worker.start()
        try:
            yield made, worker
        finally:
            worker.kill()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_socket()
    }


def written_by(pid: int) -> Iterator[str]:
    """Regular files that a process holds open for writing."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            flags = int((entry.parents[1] / "fdinfo" / entry.name).read_text().split("flags:")[1].split()[0], 8)
            if stat.S_ISREG(entry.stat().st_mode) and flags & os.O_ACCMODE != os.O_RDONLY:
                yield os.readlink(entry)


def core_limit(pid: int) -> list[str]:
    (line,) = [x for x in Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max core file size")]
    return line.split()[4:6]


async def test_a_worker_killed_in_the_middle_of_a_clip_leaves_no_picture_and_the_next_one_goes_on(
    node: tuple[Rig, Worker], tmp_path: Path
) -> None:
    site, worker = node
    units = access_units("h264", PACKETS)
    long = [
        replace(u, dts=u.dts + n * 360_000, pts=u.pts + n * 360_000, wall_ns=u.wall_ns + n * 4_000_000_000)
        for n in range(SECONDS // 4) for u in units
    ]  # fmt: skip
    await site.record(stream_config("h264", PACKETS), long)
    duty = await site.sign_in("duty")
    before = files(tmp_path)
    assert sum(b"moof" in data for data in before.values()) >= SECONDS // 60

    still = await site.http.get(f"{site.path}/snapshot.jpg", params={"at": str(WALL_MS + 5000)}, headers=duty)
    assert still.status_code == 200 and still.content[:3] == b"\xff\xd8\xff", still.text
    window = {"from": str(WALL_MS), "to": str(WALL_MS + SECONDS * 1000), "reason": "case 4711", "watermark": "true"}
    taken = b""
    decoders: list[int] = []
    with pytest.raises(httpx.RemoteProtocolError):
        async with site.http.stream("GET", f"{site.path}/clip.mp4", params=window, headers=duty) as answer:
            assert answer.status_code == 200
            async for chunk in answer.aiter_bytes():
                taken += chunk
                if not decoders and len(taken) > 100_000:
                    decoders = worker.children()
                    for pid in (worker.pid, *decoders):
                        assert core_limit(pid) == ["0", "0"], "a crash would write the memory to the disk"
                    assert {name for pid in decoders for name in written_by(pid)} == {str(tmp_path / LOG)}
                    own = [Path(name).relative_to(tmp_path).as_posix() for name in written_by(worker.pid)]
                    assert own and [x for x in own if not x.startswith(NO_PICTURES)] == []
                    os.kill(worker.pid, signal.SIGKILL)
    assert len(decoders) >= 2, "one for stills, one for the clip"

    async def decoders_are_gone() -> bool:
        return not any(Path(f"/proc/{pid}").exists() and not _is_dead(pid) for pid in decoders)

    await until_async(decoders_are_gone, 20, "no decoder outlives its worker")
    worker.kill()
    await _nothing_new(tmp_path, before, [still.content, taken])

    await worker.start()
    again = await site.http.get(
        f"{site.path}/clip.mp4", params={**window, "to": str(WALL_MS + 3000)}, headers=duty, timeout=60
    )
    assert again.status_code == 200
    await _nothing_new(tmp_path, before, [still.content, taken, again.content])
    results = [(row.function, row.result) for row in await site.register()]
    assert results[0] == ("snapshot", "ended") and results[-1] == ("export", "ended") and len(results) == 3


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def _nothing_new(folder: Path, before: dict[str, bytes], pictures: list[bytes]) -> None:
    """No file has come but rows and signs of life, footage is as it was, and no stretch of the pictures lies anywhere
    that was not there before."""
    after = await asyncio.to_thread(files, folder)
    fresh = {name for name in after if name not in before}
    assert sorted(name for name in fresh if not name.startswith(NO_PICTURES)) == []
    assert [n for n, data in before.items() if n.startswith(("data/spool", "data/objects")) and after[n] != data] == []
    everything = b"".join(data for name, data in after.items() if name not in before or before[name] != data)
    for picture in pictures:
        stretches = [picture[at : at + _CHUNK] for at in range(len(picture) // 3, len(picture) - _CHUNK, 4096)]
        assert stretches and [x for x in stretches if x in everything] == []


async def test_no_browser_is_told_to_keep_a_picture(node: tuple[Rig, Worker]) -> None:
    """What lies on the disk of whoever watches would outlive both the footage and the right to see it."""
    site, _ = node
    await site.record(stream_config("h264", PACKETS), access_units("h264", PACKETS))
    duty = await site.sign_in("duty")
    window = {"from": str(WALL_MS), "to": str(WALL_MS + 4000)}
    playlist = await site.http.get(f"{site.path}/playback.m3u8", params=window, headers=duty)
    pieces = {part.split('"')[0] for part in playlist.text.replace("\n", '"').split('"') if part.startswith("/m/")}
    assert len(pieces) > 2
    answers = [playlist, *[await site.http.get(piece) for piece in pieces]]
    answers.append(await site.http.get(f"{site.path}/snapshot.jpg", params={"at": str(WALL_MS)}, headers=duty))
    answers.append(await site.http.get(f"{site.path}/clip.mp4", params={**window, "reason": "case 4711"}, headers=duty))
    assert [(a.status_code, a.headers["cache-control"]) for a in answers] == [(200, "no-store")] * len(answers)
    assert ENTRY in {a.headers["content-type"] for a in answers}


def test_no_process_that_is_started_by_hand_leaves_a_core_dump() -> None:
    """`tiergate serve` gives the limit to all that it starts; the other commands read footage and keys themselves."""
    script = """if True:
        import resource, sys
        from gateway.cli import main
        sys.argv = ["tiergate", "--help"]
        try:
            main()
        finally:
            print(resource.getrlimit(resource.RLIMIT_CORE), file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "(0, 0)")
