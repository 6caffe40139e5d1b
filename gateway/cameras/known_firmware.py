"""Firmware of cameras with which strangers break in today: who runs it is told so (FAULTS S9).

Faults in CISA's catalogue of known exploited vulnerabilities whose CVE record says which models and which firmware have
them; the table is those records and nothing more. CVE-2021-36260 (Hikvision) is not among them: its record names no
firmware, only the maker's notice does, model by model. A device that is missing here is not thereby a good one, and one
sold under another maker's name is not known.

Belongs here: the table, what devices said of themselves, and which cameras are on it. Does not belong here: what is
said of it (`doctor`, the routes of cameras).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from gateway.cameras.onvif import Information
from storage.catalog import cameras, facts

_RECORD = "https://www.cve.org/CVERecord?id="


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of a CVE record. A device has it whose firmware was built in `built`, or whose version is below."""

    cve: str
    maker: str  #: in what the device gives as its manufacturer, in lower case
    models: str  #: regular expression for the beginning of the model's name
    built: tuple[date, date] | None = None  #: first and last day
    below: tuple[int, ...] | None = None  #: the first version without it

    @property
    def source(self) -> str:
        return _RECORD + self.cve


_FIRST = date(2000, 1, 1)
_DAHUA_CAMERAS = r"(DH-)?IPC-H([A-Z]{1,4}[35]\w{3}|UM7\w{3})"
_DAHUA_INTERCOMS = r"(DH(I)?-)?(VTO75\w95\w|VTO65\w{3}|VTH542\wH)"


def _hikvision(models: str, first: str, last: str) -> Fault:
    return Fault("CVE-2017-7921", "hikvision", models, (_day(first), _day(last)))


def _day(digits: str) -> date:
    """`yymmdd` or `yyyymmdd`. Raises ValueError."""
    digits = digits if len(digits) == 8 else "20" + digits
    return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))


FAULTS: tuple[Fault, ...] = (
    _hikvision(r"DS-2CD2\w{2}2F-I", "140721", "160530"),
    _hikvision(r"DS-2CD2\w{2}0F-I", "140721", "160401"),
    _hikvision(r"DS-2CD2\w{2}2FWD", "150410", "161125"),
    _hikvision(r"DS-2CD4\w2\wFWD", "140721", "160414"),
    _hikvision(r"DS-2CD4\w{2}5", "140721", "160421"),
    _hikvision(r"DS-2DF", "140805", "160928"),
    _hikvision(r"DS-2CD63\w{2}", "140305", "160106"),
    Fault(
        "CVE-2021-33044", "dahua",
        rf"{_DAHUA_CAMERAS}|{_DAHUA_INTERCOMS}|(DH-)?(SD1A1|SD22|SD49|SD50|SD52C|SD6AL)"
        r"|(DH-)?TPC-(BF1241|BF2221|SD2221|BF5\w{3}|SD8\w21|PT8\w21B)",
        (_FIRST, date(2021, 5, 31)),
    ),
    Fault("CVE-2021-33045", "dahua", _DAHUA_CAMERAS, (_FIRST, date(2020, 4, 30))),
    Fault(
        "CVE-2021-33045", "dahua",
        rf"{_DAHUA_INTERCOMS}|(DHI?-)?(NVR[125]\w{{3}}|NVR6\w{{2}}|XVR[457]\w{{3}})",
        (_FIRST, date(2019, 11, 30)),
    ),
    Fault("CVE-2024-8956", "ptzoptics", r"PT30X-(SDI|NDI)", below=(6, 3, 40)),
    Fault("CVE-2024-8957", "ptzoptics", r"PT30X-(SDI|NDI)", below=(6, 3, 40)),
)  # fmt: skip

#: "V5.4.0 build 160530" of Hikvision; "2.800.0000000.10.R, build: 2021-04-01" and "2.622.0.R.20190815" of Dahua.
_BUILT = re.compile(r"(?:build(?:[ :]*date)?[ :]*|\.R\.)(\d{4}-\d\d-\d\d|\d{8}|\d{6})(?!\d)", re.IGNORECASE)
_VERSION = re.compile(r"v?(\d{1,6}(?:\.\d{1,9})+)", re.IGNORECASE)


def built_on(firmware: str) -> date | None:
    found = _BUILT.search(firmware)
    try:
        return _day(found[1].replace("-", "")) if found else None
    except ValueError:
        return None


def version_of(firmware: str) -> tuple[int, ...] | None:
    found = _VERSION.search(firmware)
    return tuple(int(part) for part in found[1].split(".")) if found else None


def faults_of(device: Information) -> list[Fault]:
    """Those that the table knows of; none for firmware whose date or version cannot be read."""
    maker, model = device.manufacturer.casefold(), device.model.strip().upper()
    built, version = built_on(device.firmware), version_of(device.firmware)
    return [
        fault
        for fault in FAULTS
        if fault.maker in maker
        and re.match(fault.models, model)
        and (
            (fault.built is not None and built is not None and fault.built[0] <= built <= fault.built[1])
            or (fault.below is not None and version is not None and version < fault.below)
        )
    ]


def _key(onvif_url: str) -> str:
    return f"device:{urlsplit(onvif_url).netloc[-73:]}"


def remember(connection: Connection, onvif_url: str, device: Information) -> None:
    """What a device said of itself when it was asked last; all channels of a recorder share it."""
    value = {"manufacturer": device.manufacturer, "model": device.model, "firmware": device.firmware}
    facts.set(connection, _key(onvif_url), value)


@dataclass(frozen=True, slots=True)
class Risk:
    """A camera and what its device's firmware has."""

    camera: str
    model: str
    firmware: str
    faults: tuple[Fault, ...]

    @property
    def params(self) -> dict[str, Any]:
        return {
            "camera": self.camera,
            "model": self.model,
            "firmware": self.firmware,
            "faults": ", ".join(dict.fromkeys(fault.cve for fault in self.faults)),
        }


def cameras_with(connection: Connection, only: Iterable[str] | None = None) -> list[Risk]:
    """Cameras in service whose device told of firmware on the table, in order."""
    found = []
    told: dict[str, Any] = {}
    for row in cameras.cameras(connection, only).values():
        if not row.enabled or row.onvif_url is None:
            continue
        key = _key(row.onvif_url)
        if key not in told:
            told[key] = facts.get(connection, key)
        if told[key] is not None:
            device = Information(told[key]["manufacturer"], told[key]["model"], told[key]["firmware"], "")
            if faults := faults_of(device):
                found.append(Risk(row.id, device.model, device.firmware, tuple(faults)))
    return found
