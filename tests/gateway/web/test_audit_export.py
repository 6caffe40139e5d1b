"""An exported log proves itself, its end included, away from the node."""

from __future__ import annotations

import json
from pathlib import Path

from config import crypto
from storage.audit.log import FORMAT, canonical_json, verify_export
from tests.gateway.web.site import ALL_ROLES, site_in


async def test_the_signed_head_makes_a_cut_end_visible(tmp_path: Path) -> None:
    with site_in(tmp_path) as site:
        site.user("admin", ALL_ROLES)
        site.user("watcher", ("operator",))
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
