#!/usr/bin/python3
"""GStreamer's RTSP client: the access units that it takes out of a stream, each with its length before it (4 bytes).

Run by Debian's Python (its `gi` is not in a venv), so standard library and gi only. Usage: gst_rtsp_client.py URL
h264|h265 COUNT; the account is read from standard input as two lines. Ends with 0 after COUNT units, with 1 on an
error or the stream's end, and what GStreamer says of it on standard error.
"""

from __future__ import annotations

import struct
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402  versions must be named first


def main() -> int:
    url, codec, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    user, password = (sys.stdin.readline().rstrip("\n") for _ in range(2))
    Gst.init(None)
    pipeline = Gst.parse_launch(
        f"rtspsrc name=source protocols=tcp latency=0 ! rtp{codec}depay ! "
        f"video/x-{codec},stream-format=byte-stream,alignment=au ! appsink name=sink emit-signals=true sync=false"
    )
    source, sink = pipeline.get_by_name("source"), pipeline.get_by_name("sink")
    for name, value in (("location", url), ("user-id", user), ("user-pw", password)):
        source.set_property(name, value)
    loop, left, code = GLib.MainLoop(), count, 1

    def sample(_sink: object) -> Gst.FlowReturn:
        nonlocal left, code
        buffer = sink.emit("pull-sample").get_buffer()
        if left > 0:
            data = buffer.extract_dup(0, buffer.get_size())
            sys.stdout.buffer.write(struct.pack(">I", len(data)) + data)
            left -= 1
        if left == 0:
            code = 0
            loop.quit()
        return Gst.FlowReturn.OK

    def message(_bus: object, said: Gst.Message) -> None:
        if said.type == Gst.MessageType.ERROR:
            error, debug = said.parse_error()
            print(error.message, debug, file=sys.stderr)
            loop.quit()
        elif said.type == Gst.MessageType.EOS:
            print("end of stream", file=sys.stderr)
            loop.quit()

    sink.connect("new-sample", sample)
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", message)
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)
    sys.stdout.flush()
    return code


sys.exit(main())
