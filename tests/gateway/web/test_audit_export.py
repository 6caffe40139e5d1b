"""An exported log proves itself, its end included, away from the node."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import delete

from config import crypto
from gateway.access.keys import load_keys
from gateway.ops.rotation import rotate_sealing, rotate_token
from gateway.web.routers.checkpoints import newest_head_of
from storage.audit import log as audit
from storage.audit import signed
from storage.audit.log import FORMAT, canonical_json, verify_export
from storage.audit.signed import Signer
from storage.catalog.tables import audit as audit_table
from storage.objects import make_store
from tests.gateway.web.site import ALL_ROLES, Site, site_in
from tests.parts.hanging_disk import HangingDisk


async def test_the_signed_head_makes_a_cut_end_visible(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("admin", ALL_ROLES)
        site.user("watcher", ("operator",))
        make_store(site.settings).ensure()
        async with await site.sign_in("admin") as admin, await site.sign_in("watcher") as watcher:
            assert (await watcher.get("/api/v1/audit/checkpoint")).status_code == 403
            head = (await admin.get("/api/v1/audit/checkpoint")).json()
            items = (await admin.get("/api/v1/audit")).json()["items"]
        lines = [json.dumps({"kind": "tiergate-audit", "format": FORMAT})]
        lines += [canonical_json({"kind": "entry", **item}).decode() for item in reversed(items)]
        lines.append(json.dumps({"kind": "checkpoint", **head}))
        public = site.services.keys.node_public
    whole = verify_export(lines, public)
    assert whole.whole and whole.checkpoints == 1 and whole.entries == len(items) >= 2
    assert not verify_export([*lines[:-2], lines[-1]], public).whole  # the last entry is missing
    assert not verify_export(lines, crypto.DEFAULT_SUITE.public_key(bytes(32))).whole  # signed by somebody else


@pytest.mark.fault("B34", "S18")
async def test_a_store_that_hangs_is_one_that_does_not_answer(tmp_path: Path, hanging: HangingDisk) -> None:
    with site_in(tmp_path / "node", store={"folder": str(hanging.path)}) as site:
        site.user("admin", ALL_ROLES)
        async with await site.sign_in("admin") as admin:
            for _ in range(8):  # more than there are threads for such work
                answer = await admin.get("/api/v1/audit/checkpoint")
                assert (answer.status_code, answer.json()["code"]) == (503, "ops.disk_silent")
            end = (await admin.get("/api/v1/audit/verify")).json()["end"]
            assert (end["state"], end["problem"]["code"]) == ("unknown", "ops.disk_silent")
        assert await newest_head_of(site.services) is None, "evidence in the spools does not wait for it"
    hanging.fail()


def keeper(site: Site) -> Signer:
    keys = load_keys(site.settings)
    return Signer(site.catalog, make_store(site.settings), keys.node_id, keys.node)


@pytest.mark.fault("S18")
async def test_a_cut_end_is_told_and_reviewed_by_who_may(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("admin", ALL_ROLES)
        site.user("auditor", ("audit_admin",))
        site.user("duty", ("duty",))
        words = {"words": "the disk was bad; compared with the export of Monday"}
        async with await site.sign_in("auditor") as auditor, await site.sign_in("duty") as duty:
            unknown = (await auditor.get("/api/v1/audit/verify")).json()
            assert unknown["whole"] and unknown["end"]["state"] == "unknown"
            assert unknown["end"]["problem"]["code"] == "media.volume_missing"
            assert (await auditor.post("/api/v1/audit/review", json=words)).json()["code"] == "media.volume_missing"
            make_store(site.settings).ensure()
            assert (await auditor.get("/api/v1/audit/verify")).json()["end"] == {"state": "unknown"}
            hand = keeper(site)
            assert hand.write(site.now_ms()) is not None
            seq = site.catalog.read(audit.head)[0]
            holds = {"state": "holds", "seq": seq, "signed_ms": site.now_ms()}
            assert (await auditor.get("/api/v1/audit/verify")).json()["end"] == holds
            nothing = await auditor.post("/api/v1/audit/review", json=words)
            assert (nothing.status_code, nothing.json()["code"]) == (409, "ops.audit_not_cut")

            site.catalog.write(lambda c: c.execute(delete(audit_table).where(audit_table.c.seq >= seq)))
            cut = {"from_seq": 1, "to_seq": seq, "signed_ms": site.now_ms()}
            unsigned = await auditor.get("/api/v1/audit/checkpoint")
            assert (unsigned.status_code, unsigned.json()["code"]) == (409, "ops.audit_cut")
            told = (await auditor.get("/api/v1/audit/verify")).json()
            assert told == {"whole": True, "broken_at_seq": None, "end": {"state": "cut", **cut}}
            site.clock.advance(60)
            assert hand.write(site.now_ms()) is None
            assert (await duty.post("/api/v1/audit/review", json=words)).status_code == 403
            assert (await auditor.post("/api/v1/audit/review", json={"words": "ok"})).status_code == 422
            assert (await auditor.post("/api/v1/audit/review", json=words)).json() == {"reviewed": cut}
            site.clock.advance(60)
            assert hand.write(site.now_ms()) is not None
            assert (await auditor.get("/api/v1/audit/verify")).json()["end"]["state"] == "holds"
            assert (await auditor.get("/api/v1/audit/checkpoint")).status_code == 200
        (entry,) = site.catalog.read(lambda c: audit.entries(c, action=signed.REVIEWED))
        assert (entry.actor, entry.details["words"], entry.details["cut"]) == ("user:auditor", words["words"], cut)


def test_an_exchange_of_keys_changes_nothing_of_what_was_signed(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        make_store(site.settings).ensure()
        for turn in range(3):
            site.catalog.write(lambda c: audit.append(c, site.now_ms(), "os:root", "x.y", "z", {}))
            assert keeper(site).write(site.now_ms() + turn * 60_000) is not None
            if turn == 0:
                rotate_sealing(site.settings, "os:root")
            elif turn == 1:
                rotate_token(site.settings, "os:root", 0)
