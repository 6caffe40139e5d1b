"""A recorder in a folder of its own, with a real catalog, spool and keys, run as the process it is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select

from config.clock import make_clock, write_shift
from config.load import load
from config.redact import Secret, split_credentials
from gateway.access.ids import fresh_id
from gateway.access.keys import ensure_keys
from gateway.access.secrets import Secrets
from storage.catalog.cameras import (
    NewCamera,
    StreamRow,
    cameras,
    change_camera,
    create_camera,
    put_credential,
    put_stream,
    remove_camera,
)
from storage.catalog.engine import Catalog
from storage.catalog.gaps import GapRow, gaps_between
from storage.catalog.segments import SegmentRow, all_segments
from storage.catalog.status import StatusRow
from storage.catalog.tables import camera, camera_status, region, run
from storage.spool import Spool
from tests.parts.catalog import new_catalog
from tests.parts.process import Child

REPOSITORY = Path(__file__).parents[3]
_FAR_MS = 10**14


class Station:
    def __init__(
        self,
        folder: Path,
        connect_timeout_s: float = 2.0,
        *,
        inside: Sequence[str] = (),
        more: dict[str, dict[str, Any]] | None = None,
        test_clock: bool = False,
        **recorder: Any,
    ) -> None:
        """`inside`: what the recorder's command line is put behind. `more`: further settings by section. `test_clock`:
        the recorder's wall clock moves by `step`."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.config = folder / "tiergate.toml"
        sections: dict[str, dict[str, Any]] = {
            "paths": {"data": "data"},
            "cameras": {"allowed_networks": ["127.0.0.0/8"], "connect_timeout_s": connect_timeout_s},
            "recorder": {"segment_seconds": 2, "media_timeout_s": 3.0, **recorder},
            "spool": {"min_free_percent": 0.0, "critical_free_percent": 0.0},
            "live": {"linger_s": 0.5},
        }
        for name, values in (more or {}).items():
            sections.setdefault(name, {}).update(values)
        if test_clock:
            sections["clock"] = {"test_file": "clock", "allow_test_clock": True}
            write_shift(folder / "clock", 0, synchronised=True)
        lines = []
        for name, values in sections.items():
            lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
        self.config.write_text("\n".join(lines))
        self.settings = load(self.config)
        for path in (self.settings.paths.catalog_dir, self.settings.paths.run_dir):
            path.mkdir(parents=True)
        self.keys = ensure_keys(self.settings)
        new_catalog(self.settings.catalog_url)
        self.catalog = Catalog(self.settings.catalog_url)
        self.clock = make_clock(self.settings)
        self._shift_ns = 0
        self.spool = Spool(self.settings.paths.spool_dir, self.clock, self.keys.node_id)
        self.catalog.write(
            lambda c: (
                c.execute(
                    insert(region).values(code="210211001003", name="测试社区", tier="community", valid_from_ms=0)
                )
                if c.execute(select(region.c.code).where(region.c.code == "210211001003")).first() is None
                else None
            )
        )
        self.log = folder / "recorder.log"
        argv = [sys.executable, "-m", "gateway.processes.recorder", "--config", str(self.config), "--shard", "0"]
        self._argv = [*inside, *argv]
        self.process = self.with_path()

    def with_path(self, *folders: Path) -> Child:
        """A recorder that finds `folders` before everything else; not started."""
        path = os.pathsep.join(str(folder) for folder in (*folders, REPOSITORY))
        return Child(self._argv, self.log, guarded=False, env={"PYTHONPATH": path})

    # --- time --------------------------------------------------------------------------------------------------------

    def step(self, seconds: float, *, synchronised: bool = True) -> None:
        """The wall clock of the running recorder, and ours, jumps."""
        self._shift_ns += round(seconds * 1e9)
        write_shift(self.folder / "clock", self._shift_ns, synchronised)

    # --- the register ------------------------------------------------------------------------------------------------

    def add_camera(self, url: str, sub_url: str | None = None, **values: Any) -> str:
        streams = [("main", url), *([("sub", sub_url)] if sub_url else [])]
        _clean, username, password = split_credentials(url)
        credential_id = None
        if username is not None and password is not None:
            credential_id = fresh_id(self.clock)
            self._seal(credential_id, username, password)
        new = NewCamera(
            name="门口", region="210211001003", credential_id=credential_id,
            streams=tuple((name, split_credentials(u)[0], None) for name, u in streams), **values,
        )  # fmt: skip
        return self.catalog.write(
            lambda c: create_camera(c, new, "community", self.settings.recorder.shard_size, self.now_ms)
        ).id

    def change(self, camera_id: str, **values: Any) -> None:
        self.catalog.write(lambda c: change_camera(c, camera_id, values, self.now_ms))

    def remove(self, camera_id: str) -> None:
        self.catalog.write(lambda c: remove_camera(c, camera_id, self.now_ms))

    def set_url(self, camera_id: str, url: str) -> None:
        self.catalog.write(lambda c: put_stream(c, StreamRow(camera_id, "main", split_credentials(url)[0])))

    def set_password(self, camera_id: str, username: str, password: str) -> None:
        credential_id = self.catalog.read(lambda c: cameras(c)[camera_id]).credential_id
        assert credential_id is not None
        self._seal(credential_id, username, Secret(password))

    def _seal(self, credential_id: str, username: str, password: Secret) -> None:
        sealer = Secrets(self.keys)
        self.catalog.write(lambda c: put_credential(c, sealer.seal(c, self.clock, credential_id, username, password)))

    # --- what the recorder says --------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        return self.clock.wall_ns() // 1_000_000

    def segments(self, camera_id: str) -> list[SegmentRow]:
        rows = self.catalog.read(lambda c: all_segments(c, ["spooled"]))
        return sorted((row for row in rows if row.camera_id == camera_id), key=lambda row: row.start_ms)

    def all_gaps(self, camera_id: str) -> list[GapRow]:
        return self.catalog.read(lambda c: gaps_between(c, camera_id, "main", 0, _FAR_MS))

    def gaps(self, camera_id: str) -> list[GapRow]:
        """But for the time from the registration to the first picture, which every camera has."""
        return [gap for gap in self.all_gaps(camera_id) if (gap.reason or {}).get("code") != "recorder.first_picture"]

    def status(self, camera_id: str, stream: str = "main") -> StatusRow | None:
        columns = [camera_status.c[field.name] for field in fields(StatusRow)]
        here = camera_status.c.camera_id == camera_id, camera_status.c.stream == stream
        found = self.catalog.read(lambda c: c.execute(select(*columns).where(*here)).first())
        return StatusRow(*found) if found is not None else None

    def runs(self, camera_id: str) -> dict[str, tuple[int, int, str | None]]:
        """(width, height, why it ended) by run."""
        query = select(run.c.id, run.c.width, run.c.height, run.c.end_reason).where(run.c.camera_id == camera_id)
        return {r.id: (r.width, r.height, r.end_reason) for r in self.catalog.read(lambda c: c.execute(query).all())}

    def bytes_of(self, row: SegmentRow) -> bytes:
        data = self.spool.read(row.camera_id, row.id, 0, row.bytes + 1)
        assert data is not None
        return data

    def accounted(self, camera_id: str) -> None:
        """From the registration on every moment is footage or a gap; only the present may be open. (I5)"""
        spans = [(row.start_ms, row.end_ms) for row in self.segments(camera_id)]
        spans += [(gap.from_ms, gap.to_ms or self.now_ms) for gap in self.all_gaps(camera_id)]
        spans.sort()
        created = select(camera.c.created_ms).where(camera.c.id == camera_id)
        end = self.catalog.read(lambda c: c.execute(created).scalar_one())
        for start, stop in spans:
            assert start - end <= 250, f"{camera_id}: {start - end} ms unaccounted for"
            end = max(end, stop)

    def close(self) -> None:
        self.process.stop()
        self.catalog.close()
