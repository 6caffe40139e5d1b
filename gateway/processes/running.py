"""A child process as the supervisor holds it: started, adopted, waited for, signalled; and what survives an exec.

The supervisor replaces itself by exec when the node is upgraded: its children stay its children, and the pipes whose
closing would end them stay open. So a child is a number and a descriptor here, not an object of a library that the next
version would have to understand. Signals go through a pidfd: never to a stranger that got the number later.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence


class Running:
    """One child. `wait` once; it closes everything."""

    def __init__(self, pid: int, stdin: int) -> None:
        """Of a child of this process. `stdin`: our end of the pipe that it reads. Raises OSError without a descriptor
        to watch it by; pid and `stdin` are the caller's then."""
        self.pid = pid
        self.stdin = stdin
        self._pidfd = os.pidfd_open(pid)
        self._ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        try:
            asyncio.get_running_loop().add_reader(self._pidfd, self._reap)
        except OSError:
            os.close(self._pidfd)
            raise

    @classmethod
    def start(cls, argv: Sequence[str], environment: Mapping[str, str], descriptors: Sequence[int]) -> Running:
        """`descriptors` keep their numbers in the child; nothing else is inherited but stdout and stderr.

        Raises OSError; then nothing runs and nothing is open.
        """
        theirs, ours = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, theirs, 0), *((os.POSIX_SPAWN_DUP2, fd, fd) for fd in descriptors)]
        try:
            pid = os.posix_spawnp(argv[0], list(argv), dict(environment), file_actions=actions)
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        try:
            return cls(pid, ours)
        except OSError:
            os.kill(pid, signal.SIGKILL)  # nobody would ever hear of its end; it is ours until it is waited for
            os.waitpid(pid, 0)
            os.close(ours)
            raise

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._pidfd)
        try:
            _, status = os.waitpid(self.pid, 0)
            code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            code = -1
        os.close(self._pidfd)
        os.close(self.stdin)
        self._ended.set_result(code)

    @property
    def alive(self) -> bool:
        return not self._ended.done()

    async def wait(self) -> int:
        """The exit code, negative for a signal."""
        return await asyncio.shield(self._ended)

    async def ended_within(self, timeout_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.wait()
        return not self.alive

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)
