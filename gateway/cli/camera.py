"""`tiergate camera`: register, probe, change."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from config.clock import SystemClock
from gateway.cli import client, context, named
from gateway.cli.files import read_csv
from gateway.cli.login import read_password

app = typer.Typer()

_COLUMNS = ["id", "name", "region", "tier", "area_class", "enabled", "state", "cause"]

UserName = Annotated[str | None, typer.Option(help="User name on the device (or in the URL).")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the device's password from standard input.")
]
RecordedBy = Annotated[
    str | None, typer.Option("--recorded-by", help="self, or owner: its owner's recorder keeps the footage.")
]


def _flat(camera: dict[str, Any]) -> dict[str, Any]:
    main = (camera.get("streams") or {}).get("main") or {}
    return {**camera, "state": main.get("state"), "cause": main.get("cause")}


def _password(username: str | None, from_stdin: bool) -> str | None:
    return read_password(from_stdin, context.words("Device password", "设备密码")) if username or from_stdin else None


def _warned(camera: dict[str, Any]) -> dict[str, Any]:
    """The node's answer, its warnings said beside it."""
    for warning in camera.pop("warnings", []):
        context.note(warning["en"], warning["zh"])
    return camera


def _first_picture(camera: dict[str, Any], wait_s: float) -> dict[str, Any]:
    """The camera as it stands when its first picture has come, something is in the way of it, or `wait_s` is over."""
    clock = SystemClock()
    end_ns = clock.monotonic_ns() + int(wait_s * 1e9)
    main: dict[str, Any] = {}
    while camera.get("enabled") and clock.monotonic_ns() < end_ns:
        camera = client.get(f"/cameras/{client.part(camera['id'])}")
        main = (camera.get("streams") or {}).get("main") or {}
        if main.get("state") == "online":
            return camera
        if main.get("reason"):
            break
        time.sleep(0.2)
    reason = main.get("reason")
    if reason:
        context.note(f"registered, but no picture yet: {reason['en']}", f"已登记，但还没有画面：{reason['zh']}")
    elif main:
        context.note(
            f"registered, but no picture within {wait_s:g} s; `tiergate camera show {camera['id']}` says how it stands",
            f"已登记，但 {wait_s:g} 秒内没有画面；用 `tiergate camera show {camera['id']}` 查看状态",
        )
    return camera


@app.command("list", help="Cameras of your catalogue.")
def list_(
    region: Annotated[str | None, typer.Option(help="Only this region, by name or code, and what lies in it.")] = None,
    scope: Annotated[str, typer.Option(help="own, lower or all.")] = "own",
    query: Annotated[str | None, typer.Option("--q", help="Text in name, id or place.")] = None,
) -> None:
    found = client.everything("/cameras", region=named.maybe("region", region), scope=scope, q=query)
    if not context.GLOBALS.json:
        found["items"] = [_flat(c) for c in found["items"]]
    context.show(found, _COLUMNS)


@app.command(help="Everything about one camera.")
def show(camera: Annotated[str, typer.Argument(help="Its name, or its 20-digit id.")]) -> None:
    context.show(client.get(named.at("camera", camera)))


@app.command(help="Register a camera by RTSP URL, or by --onvif. Its id is generated unless given.")
def add(
    url: Annotated[str | None, typer.Argument(help="rtsp://… of the main stream.")] = None,
    onvif: Annotated[
        str | None, typer.Option(help="ONVIF address: host[:port] or http://host/onvif/device_service.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name; default: from the device or its address.")] = None,
    sub: Annotated[str | None, typer.Option("--sub", help="rtsp://… of the sub stream.")] = None,
    username: UserName = None,
    password_stdin: PasswordStdin = False,
    region: Annotated[str | None, typer.Option(help="Region, by name or code; default: this node's.")] = None,
    department: Annotated[str | None, typer.Option(help="Department, by name or id.")] = None,
    site_type: Annotated[
        str | None, typer.Option(help="street, entrance, square, …; forbidden places are refused.")
    ] = None,
    place: Annotated[str | None, typer.Option(help="Address in words.")] = None,
    camera_id: Annotated[str | None, typer.Option("--id", help="20-digit id, when it is already assigned.")] = None,
    sharing: Annotated[str | None, typer.Option(help="none, departments or upper.")] = None,
    channel: Annotated[str | None, typer.Option(help="Channel of a recorder with many, from `camera probe`.")] = None,
    audio: Annotated[bool, typer.Option("--audio", help="Record sound; needs --audio-basis.")] = False,
    audio_basis: Annotated[str | None, typer.Option(help="Reason and document that allow sound.")] = None,
    recorded_by: RecordedBy = None,
    wait: Annotated[
        float,
        typer.Option(
            help="Seconds to wait for the first picture; 0: do not wait.", callback=context.within("--wait", 0, 600)
        ),
    ] = 10.0,
) -> None:
    if (url is None) == (onvif is None):
        raise context.usage(
            "Give an rtsp:// URL or --onvif HOST, not both. / 请给出 rtsp:// 地址或 --onvif 主机，二者其一。"
        )
    body = {
        "id": camera_id,
        "name": name,
        "url": url,
        "onvif": onvif,
        "sub_url": sub,
        "username": username,
        "password": _password(username, password_stdin),
        "region": named.maybe("region", region),
        "department_id": named.maybe("department", department),
        "site_type": site_type,
        "place": place,
        "sharing": sharing,
        "channel": channel,
        "audio": audio or None,
        "audio_basis": audio_basis,
        "recorded_by": recorded_by,
    }
    camera = _warned(client.post("/cameras", {k: v for k, v in body.items() if v is not None}))
    context.show(_first_picture(camera, wait if camera["recorded_by"] == "self" else 0))


@app.command(help="Ask a device what it offers; nothing is registered, but a registered device's firmware is noted.")
def probe(
    address: Annotated[str, typer.Argument(help="rtsp://… or ONVIF host.")],
    username: UserName = None,
    password_stdin: PasswordStdin = False,
) -> None:
    key = "url" if address.startswith(("rtsp://", "rtsps://")) else "onvif"
    password = _password(username, password_stdin)
    context.show(client.post("/cameras/probe", {key: address, "username": username, "password": password}))


@app.command(help="Search this network for ONVIF devices.")
def discover(
    seconds: Annotated[
        float,
        typer.Option(help="How long to listen, in seconds, at most 15.", callback=context.within("--seconds", 0.1, 15)),
    ] = 3.0,
) -> None:
    context.show(client.post("/cameras/discover", {"seconds": seconds}), ["address", "name", "hardware", "known"])


@app.command("set", help="Change a camera.")
def set_(
    camera: Annotated[str, typer.Argument(help="Its name, or its 20-digit id.")],
    name: Annotated[str | None, typer.Option()] = None,
    url: Annotated[str | None, typer.Option("--main", help="New main stream, rtsp://….")] = None,
    sub: Annotated[str | None, typer.Option("--sub", help="New sub stream.")] = None,
    username: UserName = None,
    password_stdin: PasswordStdin = False,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable")] = None,
    sharing: Annotated[str | None, typer.Option(help="none, departments or upper.")] = None,
    department: Annotated[str | None, typer.Option(help="Department, by name or id.")] = None,
    region: Annotated[str | None, typer.Option(help="Region, by name or code.")] = None,
    place: Annotated[str | None, typer.Option()] = None,
    audio: Annotated[bool | None, typer.Option("--audio/--no-audio")] = None,
    audio_basis: Annotated[str | None, typer.Option(help="Reason and document that allow sound.")] = None,
    recorded_by: RecordedBy = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="When it is recorded, e.g. 'mon-fri 07:30-19:00, sat 08:00-12:00'; 'always': at all times."),
    ] = None,
) -> None:
    body = {
        "name": name,
        "url": url,
        "sub_url": sub,
        "username": username,
        "password": _password(username, password_stdin),
        "enabled": enabled,
        "sharing": sharing,
        "department_id": named.maybe("department", department),
        "region": named.maybe("region", region),
        "place": place,
        "audio": audio,
        "audio_basis": audio_basis,
        "recorded_by": recorded_by,
        "schedule": schedule,
    }
    given: dict[str, Any] = {k: v for k, v in body.items() if v is not None}
    if schedule == "always":
        given["schedule"] = None
    context.show(_warned(client.patch(named.at("own camera", camera), given)))


@app.command(help="How long the recorder of a camera's owner keeps; without options: what was attested so far.")
def attest(
    camera: Annotated[str, typer.Argument(help="Name or 20-digit id of a camera with recorded_by=owner.")],
    days: Annotated[int | None, typer.Option(help="Days that the owner's recorder keeps; 0: nothing.")] = None,
    by: Annotated[str | None, typer.Option(help="Who of the owner's unit answers for it.")] = None,
    document: Annotated[str | None, typer.Option(help="Number or name of the document that says so.")] = None,
    until: Annotated[str | None, typer.Option(help="Until when it holds, RFC 3339; at most 366 days.")] = None,
) -> None:
    path = named.at("own camera", camera) + "/attestations"
    given = (days, by, document, until)
    if given == (None, None, None, None):
        context.show(client.get(path), ["days", "attested_by", "document", "valid_until_ms", "made_ms", "made_by"])
        return
    if None in given:
        raise context.usage("Give --days, --by, --document and --until. / 请同时给出四个选项。")
    body = {"days": days, "attested_by": by, "document": document, "valid_until": until}
    context.show(client.post(path, body))


@app.command(
    "check-owner",
    help="Ask the recorder of a camera's owner, by ONVIF Profile G, whether it has the footage it answers for.",
)
def check_owner(
    camera: Annotated[str, typer.Argument(help="Name or 20-digit id of a camera with recorded_by=owner.")],
    at: Annotated[
        str | None, typer.Option(help="Of this time, RFC 3339; default: instants drawn over what is promised.")
    ] = None,
    past: Annotated[bool, typer.Option("--past", help="Only show what was asked so far; nothing is asked.")] = False,
) -> None:
    """Ends with 1 when footage is missing or could not be asked for."""
    path = named.at("own camera", camera) + "/owner-checks"
    columns = ["at_ms", "verdict", "reason", "asked_ms", "asked_by"]
    if past:
        if at is not None:
            raise context.usage("Give --at or --past, not both. / --at 与 --past 不可同时给出。")
        context.show(client.everything(path), columns)
        return
    found = client.post(path, {} if at is None else {"at": at})
    context.show(found, columns)
    context.say(found["reason"]["en"], found["reason"]["zh"])
    if any(row["verdict"] != "present" for row in found["items"]):
        raise typer.Exit(1)


@app.command(help="Take a camera out of service. Its footage stays as long as it must.")
def remove(camera: Annotated[str, typer.Argument(help="Its name, or its 20-digit id.")]) -> None:
    client.delete(named.at("own camera", camera))
    context.say("removed; its footage stays until its time ends", "已移除；录像按保存期限保留")


_EXPORT = [
    "id",
    "name",
    "region",
    "tier",
    "department",
    "site_type",
    "place",
    "longitude",
    "latitude",
    "sharing",
    "enabled",
]


@app.command("export", help="Cameras as CSV on standard output, without credentials.")
def export_() -> None:
    writer = csv.DictWriter(sys.stdout, ["url", "sub_url", *_EXPORT], extrasaction="ignore")
    writer.writeheader()
    for camera in client.everything("/cameras")["items"]:
        streams = camera.get("streams") or {}
        urls = {"url": (streams.get("main") or {}).get("url"), "sub_url": (streams.get("sub") or {}).get("url")}
        writer.writerow(camera | urls)


@app.command("import", help="Register cameras from CSV: url,name[,sub_url,username,password,region,site_type,place,…].")
def import_(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]) -> None:
    """One line after another; a bad line is reported and does not stop the others."""
    from config.errors import TiergateError

    results = []
    for number, row in list(read_csv(file, ("url", "onvif"))):  # whole before the first is sent
        try:
            results.append({"line": number, "id": client.post("/cameras", row)["id"], "problem": None})
        except TiergateError as error:
            results.append({"line": number, "id": None, "problem": error.reason.as_json()})
    context.show({"items": results, "next": None}, ["line", "id", "problem"])
    if any(r["problem"] for r in results):
        raise typer.Exit(1)
