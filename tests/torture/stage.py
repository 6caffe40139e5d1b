"""Lives of `tests.torture.commit_path` under strace: what it called, what was done to it, how it ended.

strace attaches to a forked life before it goes, in plain mode: with ``--seccomp-bpf`` it injects nothing and says
nothing (MEASUREMENTS D9), so every test counts the hits that strace itself wrote down.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from tests.torture.commit_path import Life

ROOT = Path(__file__).parents[2]

#: What changes a disk, or makes a change durable.
CHANGING = (
    "openat", "write", "pwrite64", "writev", "fsync", "fdatasync", "rename", "link", "unlink", "ftruncate", "mkdir",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Injection:
    """The `first`th call of this name, and those up to the `last`th, are answered so; or it is the end: KILL."""

    call: str
    what: str  #: KILL, EIO, ENOSPC
    first: int
    last: int = 0

    def argument(self) -> str:
        what = "signal=SIGKILL" if self.what == "KILL" else f"error={self.what}"
        when = f"{self.first}..{self.last}" if self.last > self.first else str(self.first)
        return f"inject={self.call}:{what}:when={when}"

    def __str__(self) -> str:
        return f"{self.what} at {self.call} {self.first}" + (f"-{self.last}" if self.last > self.first else "")


@dataclass(frozen=True, slots=True)
class Ended:
    code: int  #: of the process; -9 when it was killed
    hits: int  #: calls that strace says it tampered with
    log: Path


class Stage:
    """One zygote, many lives."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._zygote: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        with (self._log.parent / "zygote.log").open("w") as errors:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "tests.torture.commit_path"],
                cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        self._line()
        return self

    def __exit__(self, *exc: object) -> None:
        zygote = self._zygote
        assert zygote is not None
        assert zygote.stdin is not None and zygote.stdout is not None
        zygote.stdin.close()
        zygote.stdout.close()
        try:
            zygote.wait(10)
        except subprocess.TimeoutExpired:
            zygote.kill()
            zygote.wait()

    def live(self, life: Life, *injections: Injection) -> Ended:
        """A life to its end, whichever that is."""
        self._say(json.dumps(asdict(life)))
        pid = int(self._line())
        if not injections:
            self._say("go")
            return Ended(int(self._line()), 0, self._log)
        calls = ",".join(sorted({injection.call for injection in injections}))
        arguments = [word for injection in injections for word in ("-e", injection.argument())]
        return self._under_strace(pid, ["-y", "-s", "0", "-e", f"trace={calls}", *arguments])

    def count(self, life: Life) -> Counter[str]:
        """How often an untouched life makes each of the `CHANGING` calls."""
        self._say(json.dumps(asdict(life)))
        ended = self._under_strace(int(self._line()), ["-s", "0", "-e", f"trace={','.join(CHANGING)}"])
        assert ended.code == 0, ended
        return Counter(name for line in calls_of(ended.log) if (name := line.split("(")[0]) in CHANGING)

    def record(self, life: Life, *injections: Injection) -> Ended:
        """A life with everything that it did to its files written down whole, for `tests.torture.power`."""
        self._say(json.dumps(asdict(life)))
        pid = int(self._line())
        arguments = [word for injection in injections for word in ("-e", injection.argument())]
        return self._under_strace(pid, ["-xx", "-s", "10000000", "-e", f"trace={','.join(RECORDED)}", *arguments])

    def _under_strace(self, pid: int, arguments: list[str]) -> Ended:
        argv = ["strace", "-f", "-o", str(self._log), *arguments, "-p", str(pid)]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            said = tracer.stderr.readline()
            assert "attached" in said, said + tracer.stderr.read()
            self._say("go")
            code = int(self._line())
            tracer.stderr.read()
        lines = calls_of(self._log)
        hits = sum(line.rstrip().endswith("(INJECTED)") for line in lines)
        hits += sum("SIGKILL" in line and "+++" in line for line in lines)
        return Ended(code, hits, self._log)

    def _say(self, line: str) -> None:
        assert self._zygote is not None and self._zygote.stdin is not None
        print(line, file=self._zygote.stdin, flush=True)

    def _line(self) -> str:
        assert self._zygote is not None and self._zygote.stdout is not None
        line = self._zygote.stdout.readline()
        assert line, "the zygote has ended"
        return line.strip()


#: `CHANGING`, and what is needed to know which file and where.
RECORDED = (
    *CHANGING, "close", "lseek", "sendto", "pwritev", "fallocate", "rmdir", "renameat", "renameat2", "linkat",
    "unlinkat", "mkdirat",
)  # fmt: skip


def calls_of(log: Path) -> list[str]:
    """strace's lines without the pid before each."""
    return [line.split(" ", 1)[1].strip() for line in log.read_text(errors="replace").splitlines() if " " in line]
