"""`RtspServer`: real cameras on loopback, served by GStreamer (gst_rtsp_server.py) from the clips of `clips`."""

from __future__ import annotations

import json
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from tests.parts.clips import RECIPES, clip
from tests.parts.process import Child, readable

_SCRIPT = Path(__file__).with_name("gst_rtsp_server.py")
#: Debian's own interpreter: python3-gst-1.0 is installed for it alone.
_PYTHON = "/usr/bin/python3"


class RtspServer:
    """Many cameras behind one port and one account. A mount named like a recipe appears when its URL is asked for.

    `start` after `kill` or `stop` brings the same cameras back on the same port.
    """

    def __init__(
        self,
        mounts: Mapping[str, str] | None = None,
        *,
        auth: Literal["digest", "basic", "none"] = "digest",
        user: str = "admin",
        password: str = "p@ss:w/1",
        port: int = 0,
    ) -> None:
        self.auth = auth
        self.user = user
        self.password = password
        self.port = port
        self._mounts: dict[str, Path] = {name: clip(recipe) for name, recipe in (mounts or {}).items()}
        folder = Path(tempfile.mkdtemp(prefix="tiergate-rtsp-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._log = folder / "server.log"
        self._child: Child | None = None

    def start(self) -> Self:
        argv = [_PYTHON, str(_SCRIPT), "--port", str(self.port), "--auth", self.auth]
        self._child = Child(argv, self._log, guarded=False, stdout_is_pipe=True)
        self._child.start()
        self._send({"user": self.user, "password": self.password})
        self.port = int(self._receive(20)["port"])
        for name, path in self._mounts.items():
            self._do("mount", name=name, clip=str(path))
        return self

    # --- what a camera's owner does -------------------------------------------------------------

    def url(self, mount: str, *, credentials: bool = True, port: int | None = None) -> str:
        """rtsp://… of a mount; `port` when a relay stands in between."""
        if mount not in self._mounts and mount in RECIPES:
            self.add(mount, mount)
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if credentials else ""
        return f"rtsp://{'' if self.auth == 'none' else login}127.0.0.1:{port or self.port}/{mount}"

    def add(self, mount: str, recipe: str) -> None:
        """A new camera, or another picture (codec, size) from an old one: its viewers are cut off and see it anew."""
        self._mounts[mount] = clip(recipe)
        self._do("mount", name=mount, clip=str(self._mounts[mount]))

    def unplug(self, mount: str) -> int:
        """The camera goes: viewers are cut off (answers how many), new ones get 404. `plug` brings it back."""
        return int(self._do("unmount", name=mount)["cut"])

    def plug(self, mount: str) -> None:
        self._do("mount", name=mount, clip=str(self._mounts[mount]))

    def set_credentials(self, user: str, password: str) -> None:
        """The password was changed on the camera: whoever signs in from now on needs the new one."""
        self._do("credentials", user=user, password=password)
        self.user, self.password = user, password

    def cut(self) -> int:
        """Closes every connection; all may come back at once."""
        return int(self._do("cut")["cut"])

    def clients(self) -> int:
        """How many RTSP connections are open."""
        return int(self._do("status")["clients"])

    def pictures_sent(self, mount: str) -> int:
        return int(self._do("status")["mounts"][mount])

    # --- what happens to a camera ---------------------------------------------------------------

    def pause(self) -> None:
        """Connections stay open, nothing comes any more."""
        self._alive().pause()

    def resume(self) -> None:
        self._alive().resume()

    def kill(self) -> None:
        self._alive().kill()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- the line to the server -----------------------------------------------------------------

    def _alive(self) -> Child:
        assert self._child is not None, "the RTSP server was not started"
        return self._child

    def _do(self, do: str, **arguments: str) -> dict[str, Any]:
        self._send({"do": do, **arguments})
        answer = self._receive(60)
        if not answer["ok"]:
            raise RuntimeError(f"RTSP server: {answer['error']}")
        return answer

    def _send(self, value: dict[str, Any]) -> None:
        popen = self._alive().popen
        assert popen is not None
        assert popen.stdin is not None
        popen.stdin.write(json.dumps(value).encode() + b"\n")
        popen.stdin.flush()

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        popen = self._alive().popen
        assert popen is not None
        assert popen.stdout is not None
        line = popen.stdout.readline() if readable(popen.stdout, timeout_s) else b""
        if not line:
            raise RuntimeError(f"the RTSP server does not answer:\n{self._alive().tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
