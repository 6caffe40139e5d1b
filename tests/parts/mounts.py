"""Disks of a test's own, in a private mount namespace: small, full, read-only, frozen, swapped. Needs root.

Programs that shall see them are started behind `enter`; the test looks at them through `path`. Everything goes with the
process that holds the namespace, and that goes with us.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.parts.wait import until

_EXT4 = "loop,errors=remount-ro"


def usable() -> bool:
    """Whether this machine lets us mount in a namespace of our own."""
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("nsenter") is None:
        return False
    return subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode == 0


class Mounts:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._holder: subprocess.Popen[bytes] | None = None
        self._frozen: set[Path] = set()

    def start(self) -> Self:
        argv = ["unshare", "--mount", "--propagation", "private", "cat"]
        self._holder = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
        until(lambda: self._name() == "cat", 10, "the namespace is there")
        return self

    def stop(self) -> None:
        for mount in list(self._frozen):
            self.thaw(mount)
        if self._holder is not None and self._holder.stdin is not None:
            self._holder.stdin.close()
            self._holder.wait(10)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    @property
    def _pid(self) -> int:
        assert self._holder is not None
        return self._holder.pid

    def _name(self) -> str:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self._pid}/comm").read_text().strip()
        return ""

    @property
    def enter(self) -> list[str]:
        """Put before a command: it sees these disks."""
        return ["nsenter", f"--mount=/proc/{self._pid}/ns/mnt", "--"]

    def path(self, inside: Path) -> Path:
        """The same place, for us outside."""
        return Path(f"/proc/{self._pid}/root") / inside.relative_to("/")

    def run(self, *argv: str | Path) -> str:
        done = subprocess.run(
            [*self.enter, *map(str, argv)], check=False, capture_output=True, text=True, timeout=60
        )  # fmt: skip
        assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr}"
        return done.stdout

    # --- disks ---

    def tmpfs(self, place: Path, options: str) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        self.run("mount", "-t", "tmpfs", "-o", options, "tmpfs", place)
        return place

    def ext4(self, place: Path, megabytes: int, reserved_percent: int = 0) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        image = self.folder / f"{place.name}.img"
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        self.run("mkfs.ext4", "-q", "-m", str(reserved_percent), image)
        self.run("mount", "-o", _EXT4, image, place)
        return place

    def bind(self, source: Path, place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        self.run("mount", "--bind", source, place)

    def unmount(self, place: Path) -> None:
        self.run("umount", "--lazy", place)

    def turn_read_only(self, place: Path) -> None:
        """An ext4 disk as the kernel leaves it after an error: read-only at once, whoever is writing."""
        device = self.run("findmnt", "-n", "-o", "SOURCE", place).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("test")

    def repair(self, place: Path) -> None:
        """What a person does about it: unmount, check, mount."""

        def unmounted() -> bool:
            argv = [*self.enter, "umount", str(place)]
            return subprocess.run(argv, check=False, capture_output=True, timeout=60).returncode == 0

        until(unmounted, 30, "nobody holds a file there open any more")
        image = self.folder / f"{place.name}.img"
        fixed = subprocess.run([*self.enter, "e2fsck", "-p", "-f", str(image)], check=False, capture_output=True)
        assert fixed.returncode in (0, 1), fixed.stdout
        self.run("mount", "-o", _EXT4, image, place)

    def freeze(self, place: Path) -> None:
        """Every write to it waits, until `thaw`."""
        self._frozen.add(place)
        self.run("fsfreeze", "--freeze", place)

    def thaw(self, place: Path) -> None:
        self._frozen.discard(place)
        self.run("fsfreeze", "--unfreeze", place)

    def fill(self, place: Path) -> Path:
        """A file that takes the last byte."""
        ballast = place / "ballast"
        with self.path(ballast).open("ab", buffering=0) as file:
            for block in (bytes(1 << 20), bytes(4096)):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(block)
        return self.path(ballast)
