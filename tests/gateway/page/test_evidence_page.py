"""An evidence package as a duty officer takes it on the page, judged by the program inside it and nothing else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.gateway.evidence.packages import Judge
from tests.gateway.page.test_approvals_page import sign_in_alone
from tests.gateway.page.test_page import arrange, put
from tests.parts.browser import Chromium
from tests.parts.node import QUICK, Node
from tests.parts.rtsp_server import RtspServer
from tests.parts.wait import until

pytestmark = pytest.mark.real

#: A moment in the form's own words: the time of day of the governance centre, not of the browser.
FIELD = """async (ms) => (await import("/page/time.js")).inputStamp(ms)"""


def test_a_package_taken_on_the_page_is_what_the_node_signed(tmp_path: Path, english: Chromium) -> None:
    with RtspServer() as rtsp, Node(tmp_path / "node", settings=QUICK).init().start() as node:
        rtsp.add("gate", "tiny")
        camera = node.add_camera(rtsp.url("gate"), "--name", "Gate")
        page = english.page
        sign_in_alone(page, node, node.user, node.password)
        page.wait_for_selector(".row.camera")
        arrange(page, "1", [])
        put(page, camera)
        span = until(
            lambda: next((s for s in node.footage(camera) if s["to_ms"] - s["from_ms"] > 14_000), None), 90,
            "14 s of footage: the first segments of 4 s are closed",
        )  # fmt: skip
        page.click('[data-tile="0"]')
        page.keyboard.press("c")
        page.fill("dialog input[name=from]", page.evaluate(FIELD, span["from_ms"] + 1_000))
        page.fill("dialog input[name=to]", page.evaluate(FIELD, span["from_ms"] + 6_000))
        page.fill("dialog textarea[name=reason]", "fight at the gate")
        page.fill("dialog input[name=case_no]", "A-7")
        page.check("dialog input[name=evidence]")
        with (
            page.expect_download() as download,
            page.expect_response(lambda r: "/exports/evidence.zip" in r.url) as told,
        ):
            page.click("dialog button[type=submit]")
            assert told.value.status == 200, told.value.text()
        saved = tmp_path / download.value.suggested_filename
        assert saved.suffix == ".zip" and camera in saved.name
        download.value.save_as(saved)
        page.wait_for_selector("dialog", state="detached")
        page.wait_for_selector(".toast.good")

        with zipfile.ZipFile(saved) as package:
            assert package.testzip() is None
            judge = Judge(tmp_path / "elsewhere", package.read("verify_evidence.py"))
            manifest = json.loads(package.read("manifest.json"))
        fingerprint = node.cli("export", "key")["fingerprint"]
        status, said = judge.judge(saved, "--key", fingerprint)
        assert (status, said["whole"], said["key_compared"]) == (0, True, True)
        assert (manifest["reason"], manifest["case_no"]) == ("fight at the gate", "A-7")
        (listed,) = manifest["cameras"]
        assert listed["id"] == camera and listed["segments"]
        assert node.cli("export", "verify", str(saved))["ok"] is True
        looks = [row for row in node.get("/register")["items"] if row["function"] == "export"]
        assert [(row["camera"], row["case"]) for row in looks] == [(camera, "A-7")]

        changed = bytearray(saved.read_bytes())
        with zipfile.ZipFile(saved) as package:
            inside = package.getinfo(listed["segments"][0]["file"])
        changed[inside.header_offset + 200] ^= 1
        assert judge.judge(bytes(changed), "--key", fingerprint)[0] != 0, "one bit of what was recorded"
        assert english.complaints == []
