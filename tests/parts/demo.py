"""The demonstration: a community node and a street node above it, four real cameras, everything paired and signed in.

`scripts/demo` runs this as a program; tests use `Demo`. State lies in one folder and is used again: the second start
takes seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from tests.parts.node import QUICK, REPOSITORY, Node
from tests.parts.onvif_ipycam import OnvifCamera
from tests.parts.process import free_port
from tests.parts.rtsp_server import RtspServer
from tests.parts.s3 import MinIO, S3Server, SeaweedFS

#: Division codes of the demonstration: a district, its street, the street's community.
REGIONS = """\
code,name,tier,parent
21,辽宁省,,
2102,大连市,city,21
210211,甘井子区,district,2102
210211001,周水子街道,street,210211
210211001003,泉水社区,community,210211001
"""


class Demo:
    """Everything that `scripts/demo` shows. `start` is idempotent over the state in `folder`."""

    def __init__(self, folder: Path, *, port: int = 0, minio: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._state_file = folder / "state.json"
        self._state: dict[str, Any] = json.loads(self._state_file.read_text()) if self._state_file.exists() else {}
        if port and self._state.get("asked_port") != port:
            self._state["ports"] = None
        self._state["asked_port"] = port or self._state.get("asked_port", 0)
        self._minio = minio
        self.store: S3Server | None = None
        password = self._state.setdefault("camera_password", os.urandom(6).hex())
        self.rtsp = RtspServer(password=password, port=self._state.get("rtsp_port", 0))
        self.onvif: OnvifCamera | None = None
        self.community, self.street = self._nodes(port)

    def _nodes(self, port: int) -> tuple[Node, Node]:
        ports = self._state.get("ports")
        if not ports:
            ports = [port, port + 1, port + 2, port + 3] if port else [free_port() for _ in range(4)]
            self._state["ports"] = ports
        fast = {k: v for k, v in QUICK.items() if k != "recorder"} | {"recorder": {"segment_seconds": 20}}
        community = Node(
            self.folder / "community", name="泉水社区综治中心", tier="community", region="210211001003",
            port=ports[0], relay_port=ports[1], settings=fast,
        )  # fmt: skip
        street = Node(
            self.folder / "street", name="周水子街道综治中心", tier="street", region="210211001",
            port=ports[2], relay_port=ports[3], settings=fast,
        )  # fmt: skip
        return community, street

    def start(self) -> Self:
        fresh = not self._state.get("ready")
        with ThreadPoolExecutor() as pool:  # everything starts beside everything else: a second start takes seconds
            cameras = pool.submit(self._start_cameras)
            for node in self._start_nodes(pool):
                node.result()
            cameras.result()
        if fresh:
            self._furnish()
            self._state["ready"] = True
        self._save()
        return self

    def _start_cameras(self) -> None:
        self.rtsp.start()
        self._state["rtsp_port"] = self.rtsp.port
        for name in ("gate_main", "gate_sub", "market_hevc", "market_sub", "bridge_audio", "bridge_sub"):
            self.rtsp.url(name)
        self.onvif = OnvifCamera(self.rtsp, main="school_main", sub="school_sub", port=self._state.get("onvif_port", 0))
        self.onvif.start()
        self._state["onvif_port"] = self.onvif.port

    def _start_nodes(self, pool: ThreadPoolExecutor) -> list[Future[Node]]:
        for node in (self.community, self.street):
            if not node.config.exists():
                node.init()
            node.password = (node.folder / "first-password").read_text()
            ports: dict[str, dict[str, Any]] = {
                "web": {"listen": f"127.0.0.1:{node.port}"},
                "relay": {"listen": f"127.0.0.1:{node.relay_port}", "allowed_networks": ["127.0.0.0/8"]},
            }
            node.configure(ports)
        if self._minio:
            self._use_s3()
        return [pool.submit(node.start) for node in (self.community, self.street)]

    def _use_s3(self) -> None:
        binary = MinIO.binary()
        self.store = (MinIO if binary else SeaweedFS)(folder=self.folder / "s3")
        self.store.start()
        for node, prefix in ((self.community, "community"), (self.street, "street")):
            node.configure({"store": self.store.settings(prefix)})

    def _furnish(self) -> None:
        """Regions, cameras, an area, a department with its token, the pairing."""
        regions = self.folder / "regions.csv"
        regions.write_text(REGIONS, encoding="utf-8")
        for node in (self.community, self.street):
            node.cli("region", "import", str(regions))
        assert self.onvif is not None
        url = self.rtsp.url
        cameras = {
            "gate": self.community.add_camera(
                url("gate_main"), "--sub", url("gate_sub"), "--name", "北门", "--site-type", "entrance",
                "--sharing", "departments",
            ),
            "market": self.community.add_camera(
                url("market_hevc"), "--sub", url("market_sub"), "--name", "市场街 H.265", "--sharing", "departments"
            ),
            "bridge": self.community.add_camera(
                url("bridge_audio"), "--sub", url("bridge_sub"), "--name", "大桥",
                "--audio", "--audio-basis", "演示：居委会备案 2026-01",
            ),
            "school": str(
                self.community.cli(
                    "camera", "add", "--wait", "0",
                    "--onvif", f"127.0.0.1:{self.onvif.port}", "--username", self.onvif.user,
                    "--password-stdin", "--name", "学校路 ONVIF", "--sharing", "departments",
                    stdin=self.onvif.password + "\n",
                )["id"]
            ),
        }  # fmt: skip
        self.community.cli("area", "add", "学校周边", "--document", "综治〔2026〕1号", "--camera", cameras["school"])
        department = self.community.cli("department", "add", "城管执法队")["id"]
        token = self.community.cli(
            "token", "issue", department, "--label", "演示令牌", "--camera", cameras["gate"], "--function", "live",
            "--function", "playback", "--function", "snapshot", "--expires", "30d", "--yes",
        )["token"]  # fmt: skip
        self._state["token"] = token
        self._state["cameras"] = cameras
        code = self.community.cli("link", "invite", "upper")["code"]
        self.street.cli("link", "accept", code)

    def _save(self) -> None:
        fresh = self._state_file.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_text(json.dumps(self._state))
        os.replace(fresh, self._state_file)

    @property
    def cameras(self) -> dict[str, str]:
        return dict(self._state["cameras"])

    @property
    def token(self) -> str:
        return str(self._state["token"])

    def info(self) -> list[dict[str, Any]]:
        """What `--info FILE` holds: one object per node."""
        return [
            {
                "name": node.name,
                "tier": node.tier,
                "url": node.url,
                "user": node.user,
                "password": node.password,
                "token": self.token if node is self.community else None,
                "config": str(node.config),
            }
            for node in (self.community, self.street)
        ]

    def stop(self) -> None:
        for part in (self.street, self.community, self.onvif, self.rtsp, self.store):
            if part is not None:
                part.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Two tiers of tiergate with four real cameras.")
    parser.add_argument("--port", type=int, default=8080, help="first of four ports (default 8080)")
    parser.add_argument("--info", type=Path, help="write addresses and sign-ins as JSON into this file")
    parser.add_argument("--minio", action="store_true", help="store in an S3 server (MinIO if built, else SeaweedFS)")
    parser.add_argument("--dir", type=Path, default=REPOSITORY / "var" / "demo", help="where the demonstration lives")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    demo = Demo(options.dir, port=options.port, minio=options.minio)
    try:
        demo.start()
        if options.info:
            options.info.write_text(json.dumps(demo.info(), ensure_ascii=False, indent=2))
        for node in demo.info():
            print(
                f"\n{node['name']} ({node['tier']})\n  {node['url']}\n"
                f"  user {node['user']}  password {node['password']}"
            )
            if node["token"]:
                print(f"  department token (paste it at the page):\n  {node['token']}")
        print("\nCtrl-C ends everything.", flush=True)
        stop.wait()
    finally:
        demo.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
