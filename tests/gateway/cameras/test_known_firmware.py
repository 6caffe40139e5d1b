"""Firmware by which strangers break in today is named when a device tells it, until the device tells of another."""

from __future__ import annotations

import re
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer as TestServer

from gateway.cameras.known_firmware import FAULTS, faults_of
from gateway.cameras.onvif import Information
from tests.gateway.web.site import ALL_ROLES, site_in
from tests.parts.onvif_ipycam import OnvifCamera


def found(maker: str, model: str, firmware: str) -> set[str]:
    return {fault.cve for fault in faults_of(Information(maker, model, firmware, "1"))}


@pytest.mark.fault("S9")
@pytest.mark.parametrize(
    ("maker", "model", "firmware", "cves"),
    [
        ("HIKVISION", "DS-2CD2142F-IS", "V5.2.0 build 140721", {"CVE-2017-7921"}),
        ("HIKVISION", "DS-2CD2142F-I", "V5.4.0 build 160530", {"CVE-2017-7921"}),
        ("Hikvision", "DS-2DF8236I-AEL", "V5.4.5 Build 160928", {"CVE-2017-7921"}),
        ("Dahua", "IPC-HFW5442E-ZE", "2.800.0000000.10.R, build: 2021-05-31", {"CVE-2021-33044"}),
        ("Dahua Technology", "DH-IPC-HDBW3441R", "2.622.0.R.20200430", {"CVE-2021-33044", "CVE-2021-33045"}),
        ("Dahua", "DHI-NVR5216-16P", "4.001.0.R, Build Date 2019-11-30", {"CVE-2021-33045"}),
        ("PTZOptics", "PT30X-NDI-xx-G2", "6.2.73", {"CVE-2024-8956", "CVE-2024-8957"}),
        ("PTZOptics", "PT30X-SDI", "v6.3.39", {"CVE-2024-8956", "CVE-2024-8957"}),
    ],
)
def test_firmware_of_a_record_is_known(maker: str, model: str, firmware: str, cves: set[str]) -> None:
    assert found(maker, model, firmware) == cves


@pytest.mark.parametrize(
    ("maker", "model", "firmware"),
    [
        ("HIKVISION", "DS-2CD2142F-I", "V5.4.5 build 170123"),
        ("HIKVISION", "DS-2CD2142F-I", "V5.1.6 build 140412"),
        ("HIKVISION", "DS-2CD2386G2-I", "V5.4.0 build 160530"),
        ("Another", "DS-2CD2142F-I", "V5.4.0 build 160530"),
        ("Dahua", "IPC-HFW5442E-ZE", "2.800.0000000.10.R, build: 2021-06-01"),
        ("Dahua", "IPC-HFW2431S", "2.800.0000000.10.R, build: 2019-01-01"),
        ("PTZOptics", "PT30X-SDI", "6.3.40"),
        ("PTZOptics", "PT30X-SDI", "unknown"),
        ("HIKVISION", "DS-2CD2142F-I", "V5.4.0 build 169999"),
        ("", "", ""),
    ],
)
def test_other_firmware_is_not(maker: str, model: str, firmware: str) -> None:
    """Nothing is said of what no record names, and of a date or version that cannot be read."""
    assert found(maker, model, firmware) == set()


def test_each_line_of_the_table_has_a_record_and_a_bound() -> None:
    for fault in FAULTS:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}", fault.cve) and fault.source.endswith(fault.cve)
        assert (fault.built is None) != (fault.below is None) and fault.maker == fault.maker.casefold()
        assert fault.built is None or fault.built[0] < fault.built[1]


@pytest.mark.real
@pytest.mark.fault("S9")
async def test_a_device_that_tells_of_such_firmware_is_named_until_it_tells_of_another(
    tmp_path: Path, onvif_camera: OnvifCamera
) -> None:
    """Somebody else's device, what it says of itself rewritten on the way."""
    firmware = "V5.4.0 build 160530"

    async def rewritten(request: web.BaseRequest) -> web.StreamResponse:
        async with (
            aiohttp.ClientSession() as session,
            session.post(onvif_camera.url, data=await request.read(), headers={"Content-Type": "text/xml"}) as answer,
        ):
            text = (await answer.text()).replace(f":{onvif_camera.port}/", f":{device.port}/")
            for name, value in (
                ("Manufacturer", "HIKVISION"),
                ("Model", "DS-2CD2142F-I"),
                ("FirmwareVersion", firmware),
            ):
                text = re.sub(rf"(<(\w+:)?{name}>)[^<]*", rf"\g<1>{value}", text)
            return web.Response(text=text, content_type="application/soap+xml")

    async with TestServer(rewritten) as device:
        account = {"username": onvif_camera.user, "password": onvif_camera.password}
        asked = {"onvif": f"127.0.0.1:{device.port}", **account}
        with site_in(tmp_path) as site:
            site.user("admin", ALL_ROLES)
            async with await site.sign_in("admin") as admin:
                added = await admin.post("/api/v1/cameras", json={**asked, "name": "东门"})
                camera = added.json()
                assert [w["code"] for w in camera["warnings"]] == ["camera.bad_firmware"], camera
                assert "CVE-2017-7921" in camera["warnings"][0]["en"] and firmware in camera["warnings"][0]["zh"]
                path = f"/api/v1/cameras/{camera['id']}"
                assert len((await admin.patch(path, json={"name": "西门"})).json()["warnings"]) == 1, "it still has it"
                firmware = "V5.4.5 build 170123"
                offers = (await admin.post("/api/v1/cameras/probe", json=asked)).json()["items"]
                assert offers[0]["firmware"] == firmware
                assert (await admin.patch(path, json={"name": "东门"})).json()["warnings"] == []
