"""`OnvifCamera`: a foreign ONVIF device (ipycam) whose streams are two mounts of our RTSP server."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Self

from tests.parts.process import Child, readable
from tests.parts.rtsp_server import RtspServer

_ROOT = Path(__file__).resolve().parents[2]
_SCRIPT = Path(__file__).with_name("ipycam_device.py")


class OnvifCamera:
    """Digest over WS-Security for every call, the clock's too; PTZ; no imaging, no events, no Media2.

    Its account is the RTSP server's unless another is given.
    """

    def __init__(
        self,
        rtsp: RtspServer,
        main: str = "main",
        sub: str = "sub",
        *,
        user: str | None = None,
        password: str | None = None,
        rtsp_port: int | None = None,
        port: int = 0,
    ) -> None:
        self.rtsp = rtsp
        self.main = main
        self.sub = sub
        self.user = user or rtsp.user
        self.password = password or rtsp.password
        self._rtsp_port = rtsp_port
        self.port = port
        folder = Path(tempfile.mkdtemp(prefix="tiergate-onvif-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._log = folder / "device.log"
        self._child: Child | None = None

    @staticmethod
    def python() -> Path:
        return _ROOT / ".venv-ipycam" / "bin" / "python"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/onvif/device_service"

    def start(self) -> Self:
        for mount in (self.main, self.sub):
            self.rtsp.url(mount)  # makes the mount
        child = Child([str(self.python()), "-E", str(_SCRIPT)], self._log, guarded=False, stdout_is_pipe=True).start()
        self._child = child
        assert child.popen is not None
        assert child.popen.stdin is not None
        assert child.popen.stdout is not None
        wanted = {
            "rtsp_port": self._rtsp_port or self.rtsp.port,
            "main": self.main,
            "sub": self.sub,
            "user": self.user,
            "password": self.password,
            "port": self.port,
        }
        child.popen.stdin.write(json.dumps(wanted).encode() + b"\n")
        child.popen.stdin.flush()
        line = child.popen.stdout.readline() if readable(child.popen.stdout, 30) else b""
        if not line:
            raise RuntimeError(f"the ONVIF device did not start:\n{child.tail()}")
        self.port = int(json.loads(line)["port"])
        return self

    def pause(self) -> None:
        """It accepts connections and answers nothing: the hung camera."""
        if self._child is not None:
            self._child.pause()

    def resume(self) -> None:
        if self._child is not None:
            self._child.resume()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()
