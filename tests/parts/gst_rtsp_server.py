#!/usr/bin/python3
"""Cameras on loopback: GStreamer's RTSP server looping encoded clips, steered by JSON lines on standard input.

Run by Debian's Python (its `gi` is not in a venv), so standard library and gi only. Nothing is re-encoded; one media is
shared by all who watch a mount; RTP timestamps run on over the loop point. Ends when standard input ends.

Commands, each answered by one JSON line {"ok": true, ...} or {"ok": false, "error": "..."}:
  {"do": "mount", "name": "gate", "clip": "/path.mkv"}     a new camera, or another clip for one
  {"do": "unmount", "name": "gate"}                        unplug: its viewers are cut off, new ones get 404
  {"do": "credentials", "user": u, "password": p}          from now on; who watches stays
  {"do": "cut"}                                            every connection is closed
  {"do": "status"}                                         -> {"clients": n, "mounts": {"gate": pictures sent}}
The first line printed is {"port": n}.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import threading
import time

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402  versions must be named first

ROLE = "viewer"
#: Access unit delimiters are inserted by ffmpeg, so that a byte stream can be cut into pictures without parsing.
DELIMITER = {"h264": b"\x00\x00\x00\x01\x09", "hevc": b"\x00\x00\x00\x01\x46\x01"}
AUDIO_FRAME_NS = 20_000_000  # G.711: 20 ms a packet, as cameras do


def output_of(*argv: str) -> bytes:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL).stdout


def demux(path: str, stream: str, muxer: str, *options: str) -> bytes:
    return output_of("ffmpeg", "-v", "error", "-i", path, "-map", stream, "-c", "copy", *options, "-f", muxer, "-")


class Clip:
    """A clip's pictures and audio frames in decoding order, with times in ns from its start."""

    def __init__(self, path: str) -> None:
        streams = json.loads(output_of("ffprobe", "-v", "error", "-show_streams", "-of", "json", path))["streams"]
        video = next(s for s in streams if s["codec_type"] == "video")
        audio = next((s for s in streams if s["codec_type"] == "audio"), None)
        self.codec: str = video["codec_name"]
        numerator, denominator = map(int, video["r_frame_rate"].split("/"))
        self.picture_ns = round(1e9 * denominator / numerator)
        self._read_video(path)
        self.duration_ns = len(self.pictures) * self.picture_ns
        self.audio_codec: str | None = None
        self.sample_rate = 0
        self.sounds: list[bytes] = []
        self.sound_ns = 0.0
        if audio is not None:
            self._read_audio(path, audio)

    def _read_video(self, path: str) -> None:
        filters = f"{self.codec}_mp4toannexb,{self.codec}_metadata=aud=insert"
        stream = demux(path, "0:v:0", self.codec, "-bsf:v", filters)
        starts = [match.start() for match in re.finditer(re.escape(DELIMITER[self.codec]), stream)]
        self.pictures = [stream[a:b] for a, b in zip(starts, [*starts[1:], len(stream)], strict=True)]
        listing = output_of("ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time",
                            "-of", "csv=p=0", path)  # fmt: skip
        times = [round(float(line.strip(b",")) * 1e9) for line in listing.split()]
        if len(times) != len(self.pictures):
            raise ValueError(f"{path}: {len(times)} packets but {len(self.pictures)} pictures")
        self.presented_ns = [t - min(times) for t in times]

    def _read_audio(self, path: str, audio: dict) -> None:
        self.audio_codec = audio["codec_name"]
        self.sample_rate = int(audio["sample_rate"])
        if self.audio_codec == "aac":
            stream = demux(path, "0:a:0", "adts")
            at = 0
            while at + 7 <= len(stream):
                length = ((stream[at + 3] & 3) << 11) | (stream[at + 4] << 3) | (stream[at + 5] >> 5)
                self.sounds.append(stream[at : at + length])
                at += length
            self.sound_ns = 1024e9 / self.sample_rate
        else:
            stream = demux(path, "0:a:0", {"pcm_alaw": "alaw", "pcm_mulaw": "mulaw"}[self.audio_codec])
            size = self.sample_rate * AUDIO_FRAME_NS // 1_000_000_000
            self.sounds = [stream[at : at + size] for at in range(0, len(stream) - size + 1, size)]
            self.sound_ns = float(AUDIO_FRAME_NS)
        del self.sounds[int(self.duration_ns / self.sound_ns) :]  # the loop stays in step with the pictures

    def launch(self) -> str:
        kind = {"h264": "h264", "hevc": "h265"}[self.codec]
        # config-interval stays 0: parameter sets are in the stream, a second copy would be a packet with equal time.
        line = (
            "( appsrc name=video is-live=true format=time do-timestamp=false "
            f'caps="video/x-{kind},stream-format=byte-stream,alignment=au" '
            f"! {kind}parse ! rtp{kind}pay name=pay0 pt=96 "
        )
        if self.audio_codec == "aac":
            caps = f"audio/mpeg,mpegversion=4,stream-format=adts,rate={self.sample_rate},channels=1"
            chain = "aacparse ! rtpmp4gpay name=pay1 pt=97"
        elif self.audio_codec is not None:
            law = {"pcm_alaw": "alaw", "pcm_mulaw": "mulaw"}[self.audio_codec]
            caps = f"audio/x-{law},rate={self.sample_rate},channels=1"
            chain = f"rtp{'pcma' if law == 'alaw' else 'pcmu'}pay name=pay1"
        else:
            return line + ")"
        return f'{line} appsrc name=audio is-live=true format=time caps="{caps}" ! {chain} )'

    def schedule(self) -> list[tuple[int, int, str, bytes]]:
        """(when sent, presentation time, appsrc, bytes) of one turn of the loop, in the order of sending."""
        turn = [
            (index * self.picture_ns, presented, "video", data)
            for index, (presented, data) in enumerate(zip(self.presented_ns, self.pictures, strict=True))
        ]
        turn += [
            (round(i * self.sound_ns), round(i * self.sound_ns), "audio", data) for i, data in enumerate(self.sounds)
        ]
        return sorted(turn, key=lambda entry: entry[0])


class Camera(GstRtspServer.RTSPMediaFactory):
    """One mount. GStreamer makes one media for all its viewers and ends it with the last."""

    def __init__(self, clip: Clip, needs_login: bool) -> None:
        super().__init__()
        self.clip = clip
        self.sent = 0
        self.set_launch(clip.launch())
        self.set_shared(True)
        self.set_latency(0)
        self.set_suspend_mode(GstRtspServer.RTSPSuspendMode.NONE)
        if needs_login:
            permissions = GstRtspServer.RTSPPermissions()
            permissions.add_permission_for_role(ROLE, "media.factory.access", True)
            permissions.add_permission_for_role(ROLE, "media.factory.construct", True)
            self.set_permissions(permissions)
        self.connect("media-configure", self._on_media)

    def _on_media(self, _factory: object, media: GstRtspServer.RTSPMedia) -> None:
        stop = threading.Event()
        media.connect("unprepared", lambda _media: stop.set())
        threading.Thread(target=self._feed, args=(media.get_element(), stop), daemon=True).start()

    def _feed(self, element: Gst.Element, stop: threading.Event) -> None:
        sources = {name: element.get_by_name(name) for name in ("video", "audio")}
        turn = self.clip.schedule()
        started_ns = time.monotonic_ns()
        passed_ns = 0
        while not stop.is_set():
            for at_ns, presented_ns, name, data in turn:
                early_ns = started_ns + passed_ns + at_ns - time.monotonic_ns()
                if early_ns > 0:
                    time.sleep(early_ns / 1e9)
                if stop.is_set():
                    return
                buffer = Gst.Buffer.new_wrapped(data)
                buffer.pts = passed_ns + presented_ns
                buffer.dts = passed_ns + at_ns
                if sources[name].emit("push-buffer", buffer) != Gst.FlowReturn.OK and stop.wait(0.05):
                    return
                self.sent += name == "video"
            passed_ns += self.clip.duration_ns


class Server:
    def __init__(self, port: int, auth: str, user: str, password: str) -> None:
        self.auth = auth
        self.rtsp = GstRtspServer.RTSPServer.new()
        self.rtsp.set_address("127.0.0.1")
        self.rtsp.set_service(str(port))
        self.cameras: dict[str, Camera] = {}
        self.credentials(user, password)
        if self.rtsp.attach(None) == 0:
            raise SystemExit(f"port {port} cannot be bound")

    def credentials(self, user: str, password: str) -> dict:
        if self.auth == "none":
            return {}
        token = GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", ROLE)
        auth = GstRtspServer.RTSPAuth.new()
        if self.auth == "basic":
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
            auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
        else:
            auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
            auth.add_digest(user, password, token)
        self.rtsp.set_auth(auth)
        return {}

    def mount(self, name: str, clip: str) -> dict:
        if name in self.cameras:
            self.unmount(name)
        camera = Camera(Clip(clip), self.auth != "none")
        self.cameras[name] = camera
        self.rtsp.get_mount_points().add_factory(f"/{name}", camera)
        return {"codec": camera.clip.codec, "audio": camera.clip.audio_codec}

    def unmount(self, name: str) -> dict:
        del self.cameras[name]
        self.rtsp.get_mount_points().remove_factory(f"/{name}")
        cut = [client for client in self._clients() if self._watches(client, name)]
        for client in cut:
            client.close()
        return {"cut": len(cut)}

    def cut(self) -> dict:
        clients = self._clients()
        for client in clients:
            client.close()
        return {"cut": len(clients)}

    def status(self) -> dict:
        return {"clients": len(self._clients()), "mounts": {name: camera.sent for name, camera in self.cameras.items()}}

    def _clients(self) -> list:
        return self.rtsp.client_filter(lambda *_: GstRtspServer.RTSPFilterResult.REF)

    @staticmethod
    def _watches(client: GstRtspServer.RTSPClient, name: str) -> bool:
        every = GstRtspServer.RTSPFilterResult.REF
        return any(
            media.matches(f"/{name}")[0]
            for session in client.session_filter(lambda *_: every)
            for media in session.filter(lambda *_: every)
        )

    def obey(self, line: str) -> dict:
        command = json.loads(line)
        do = command.pop("do")
        if do not in ("mount", "unmount", "credentials", "cut", "status"):
            raise ValueError(f"unknown command {do!r}")
        return getattr(self, do)(**command)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, default=0, help="0: a free one")
    arguments.add_argument("--auth", default="digest", choices=("digest", "basic", "none"))
    options = arguments.parse_args()
    # The password comes on standard input, not in argv: the processes of the machine can be listed by anybody.
    login = json.loads(sys.stdin.readline())
    Gst.init(None)
    loop = GLib.MainLoop()
    server = Server(options.port, options.auth, login["user"], login["password"])

    def say(value: dict) -> None:
        print(json.dumps(value), flush=True)

    def on_line(line: str) -> bool:
        try:
            say({"ok": True, **server.obey(line)})
        except Exception as error:
            say({"ok": False, "error": f"{type(error).__name__}: {error}"})
        return False

    def read() -> None:
        for line in sys.stdin:
            GLib.idle_add(on_line, line)
        loop.quit()

    say({"port": server.rtsp.get_bound_port()})
    threading.Thread(target=read, daemon=True).start()
    GLib.timeout_add_seconds(5, lambda: bool(server.rtsp.get_session_pool().cleanup() or True))
    loop.run()


main()
