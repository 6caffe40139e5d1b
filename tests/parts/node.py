"""`Node`: a whole tiergate installation in a folder, set up and run through its own command line, as a person would."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx

from gateway.ops.certificates import make_private_ca
from tests.parts.process import Child, free_port
from tests.parts.wait import until

REPOSITORY = Path(__file__).parents[2]
_TIERGATE = [sys.executable, "-c", "from gateway.cli import main; main()"]


class CommandFailed(AssertionError):
    def __init__(self, argv: Sequence[str], code: int, out: str, err: str) -> None:
        super().__init__(f"tiergate {' '.join(argv)} → exit {code}\n{out}\n{err}")
        self.code, self.out, self.err = code, out, err


class Node:
    """One node. `start` waits until it is ready; `kill` is kill -9 of the supervisor's whole group."""

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "测试社区",
        tier: str = "community",
        region: str = "210211001003",
        port: int = 0,
        relay_port: int = 0,
        settings: dict[str, dict[str, Any]] | None = None,
        python_path: Sequence[Path] = (),
        tls: bool = False,
        catalog_url: str | None = None,
        under: Sequence[str] = (),
    ) -> None:
        """`python_path`: folders that the node's processes find before everything else. `tls`: people and other nodes
        are served over HTTPS with a private CA, as `init` makes it for an address that is not loopback. `catalog_url`:
        an empty PostgreSQL database instead of SQLite. `under`: a command that starts the node's and becomes it."""
        self.folder = folder
        self._python_path = os.pathsep.join(str(path) for path in (*python_path, REPOSITORY))
        self.name, self.tier, self.region = name, tier, region
        self.port = port or free_port()
        self.relay_port = relay_port or free_port()
        self.tls = tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.user, self.password = "admin", ""
        self.config = folder / "tiergate.toml"
        self._settings = settings or {}
        self._catalog_url = catalog_url
        self._under = under
        self._child: Child | None = None

    # --- life ------------------------------------------------------------------------------------------------------

    def init(self) -> Self:
        """Fresh folder: settings, keys, catalog, first user. The constructor's settings are added to the file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        catalog = []
        if self._catalog_url is not None:
            (self.folder / "catalog-url").write_text(self._catalog_url)
            catalog = ["--catalog-url-file", str(self.folder / "catalog-url")]
        answer = self.cli(
            "init", "--data", str(self.folder / "data"), "--name", self.name,
            "--tier", self.tier, "--region", self.region,
            "--listen", f"127.0.0.1:{self.port}", "--relay-listen", f"127.0.0.1:{self.relay_port}",
            "--login", self.user, "--person", "管理员", *catalog,
        )  # fmt: skip
        self.password = str(answer["password"])
        (self.folder / "first-password").write_text(self.password)
        self.configure(self._settings)
        if self.tls:
            self.make_certificate()
        return self

    @property
    def ca(self) -> Path:
        """What people put into their browsers, and `TIERGATE_CA` names."""
        return self.folder / "data" / "keys" / "ca.crt"

    @property
    def verify(self) -> ssl.SSLContext | bool:
        return ssl.create_default_context(cafile=str(self.ca)) if self.tls else True

    def make_certificate(self) -> None:
        """A new CA and server certificate; the old ones are worth nothing after the next start."""
        make_private_ca(self.ca.parent, self.name, ["127.0.0.1"])
        pair = {"tls_cert": str(self.ca.parent / "tls.crt"), "tls_key": str(self.ca.parent / "tls.key")}
        self.configure({"web": pair, "relay": pair})

    def configure(self, settings: dict[str, dict[str, Any]]) -> None:
        """Writes `settings` into the node's file; they hold from its next start."""
        import tomllib

        merged: dict[str, dict[str, Any]] = tomllib.loads(self.config.read_text())
        for section, values in settings.items():
            merged.setdefault(section, {}).update(values)
        lines: list[str] = []
        for section, values in merged.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
            lines.append("")
        self.config.write_text("\n".join(lines))

    def launch(self) -> Self:
        """`start` without waiting for anything."""
        self._child = Child([*self._under, *_TIERGATE, "--config", str(self.config), "serve"], self.log, env=self.env())
        self._child.start()
        return self

    def start(self, timeout_s: float = 60) -> Self:
        self.launch()
        assert self._child is not None
        until(self.ready, timeout_s, f"node {self.name} ready; log:\n{self._child.tail(5)}")
        if self.password:
            self.cli("login", self.user, "--password-stdin", stdin=self.password + "\n")
        return self

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def ready(self) -> bool:
        if self._child is not None and not self._child.running:
            raise RuntimeError(f"the node ended:\n{self._child.tail(30)}")
        # A web process whose supervisor was killed may still answer for a moment.
        ready = self.folder / "data" / "run" / "web.ready"
        if int(ready.read_text()) != self.pid_of("web"):
            return False
        return httpx.get(f"{self.url}/readyz", timeout=2, verify=self.verify).status_code == 200

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop(timeout_s=20)

    def kill(self) -> None:
        if self._child is not None:
            self._child.kill()

    def kill_supervisor(self) -> None:
        """kill -9 of the supervisor alone: its children must find out by themselves."""
        assert self._child is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._serving, signal.SIGKILL)
        self._child.wait(10)

    @property
    def _serving(self) -> int:
        """The process that serves: the guard's child, there before it has written its pid anywhere."""
        assert self._child is not None
        assert self._child.popen is not None
        guard = self._child.popen.pid
        return until(lambda: next(iter(_children(guard)), None), 10, "the supervisor's start")

    def pid_of(self, process: str) -> int | None:
        """The child of the supervisor that runs now under this name (`recorder`, `web`, …), ready or not."""
        for pid in _children(self._serving):
            with contextlib.suppress(OSError):
                if f"gateway.processes.{process}" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                    return pid
        return None

    @property
    def supervisor_pid(self) -> int:
        return int((self.folder / "data" / "run" / "supervisor.pid").read_text())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- talking to it -----------------------------------------------------------------------------------------------

    def env(self) -> dict[str, str]:
        """Environment in which the command means this node."""
        return {
            "PYTHONPATH": self._python_path,
            "XDG_CONFIG_HOME": str(self.folder / "home"),
            "TIERGATE_CONFIG": str(self.config),
        }

    def cli(self, *argv: str, stdin: str | None = None, expect: int = 0) -> Any:
        """The JSON that the command prints with --json. Raises CommandFailed unless it exits with `expect`."""
        done = self.run(*argv, stdin=stdin)
        if done.returncode != expect:
            raise CommandFailed(argv, done.returncode, done.stdout, done.stderr)
        text = done.stdout if expect == 0 or done.stdout.strip() else done.stderr
        try:
            return json.loads(text) if text.strip() else None
        except ValueError:
            return text

    def run(
        self, *argv: str, stdin: str | None = None, plain: bool = False, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """What the command does, with `--json` unless `plain`."""
        return subprocess.run(
            [*_TIERGATE, *argv, *(() if plain else ("--json",))],
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            env={**os.environ, **self.env(), **(env or {})},
            timeout=120,
            check=False,
        )

    def client(self, token: str | None = None) -> httpx.Client:
        """An HTTP client signed in as the first user, or carrying `token`."""
        bearer = token
        if bearer is None:
            found = json.loads((self.folder / "home" / "tiergate" / "sessions.json").read_text())
            bearer = next(iter(found.values()))
        headers = {"Authorization": f"Bearer {bearer}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=self.verify)

    def get(self, path: str, **params: Any) -> Any:
        with self.client() as client:
            answer = client.get(f"/api/v1{path}", params=params)
            answer.raise_for_status()
            return answer.json()

    def add_camera(self, url: str, *more: str) -> str:
        """Registers a camera without waiting for its picture; its id."""
        return str(self.cli("camera", "add", url, "--wait", "0", *more)["id"])

    def footage(self, camera: str, kind: str = "footage") -> list[dict[str, Any]]:
        """Spans of one kind on the camera's timeline of the last hour."""
        import time

        now_ms = time.time_ns() // 1_000_000
        spans = self.get(f"/cameras/{camera}/timeline", **{"from": now_ms - 3_600_000, "to": now_ms})["spans"]
        return [span for span in spans if span["kind"] == kind]


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, ppid = entry.read_text().rsplit(")", 1)[1].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.append(int(entry.parent.name))
    return found


#: Settings under which cameras and other nodes on loopback are allowed and everything happens quickly.
QUICK: dict[str, dict[str, Any]] = {
    "cameras": {"allowed_networks": ["127.0.0.0/8"]},
    "relay": {"allowed_networks": ["127.0.0.0/8"]},
    "recorder": {"segment_seconds": 4},
    "retention": {"clock_source": "trusted"},
    "health": {"interval_s": 2},
    "live": {"linger_s": 2.0},
}
