"""Somebody else's ONVIF device: ipycam's service and HTTP handler on loopback. Run by .venv-ipycam's Python.

ipycam's own camera listens on every address, multicasts and encodes; here only its ONVIF part runs, and the stream
addresses it answers are those of the RTSP server named on standard input. One JSON line in:
{"rtsp_port", "main", "sub", "user", "password", "port" (0: any)}; one out: {"port"}. Ends when standard input ends.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from http.server import ThreadingHTTPServer
from types import SimpleNamespace

from ipycam.config import CameraConfig
from ipycam.http import IPCameraHTTPHandler
from ipycam.onvif import ONVIFService
from ipycam.ptz import PTZController


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    wanted = json.loads(sys.stdin.readline())
    config = CameraConfig(
        local_ip="127.0.0.1",
        rtsp_port=wanted["rtsp_port"],
        main_stream_name=wanted["main"],
        sub_stream_name=wanted["sub"],
        main_fps=25,
        main_bitrate="4M",
        sub_fps=25,
        sub_bitrate="512K",
    )
    config.set_credentials(wanted["user"], wanted["password"])
    ptz = PTZController()
    camera = SimpleNamespace(config=config, ptz=ptz, onvif=ONVIFService(config, ptz))
    handler = type("Handler", (IPCameraHTTPHandler,), {"camera": camera})
    server = ThreadingHTTPServer(("127.0.0.1", wanted["port"]), handler)
    config.onvif_port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"port": config.onvif_port}), flush=True)
    while sys.stdin.readline():
        pass


main()
