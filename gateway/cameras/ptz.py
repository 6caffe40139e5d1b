"""Steering: continuous movement with a dead man's switch.

A movement that nobody renews stops by itself: a browser that crashed, a line that broke or a closed tile must not
leave a camera turning. The page renews at 5 Hz while a button is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from config.clock import Clock
from config.errors import Kind, TiergateError
from config.redact import Secret
from config.settings import Settings
from gateway.cameras import onvif

HOLD_S = 1.0  #: without a renewal the movement is stopped after this long


@dataclass(frozen=True, slots=True)
class Target:
    """Where a camera is steered: its ONVIF address, account and profile."""

    camera_id: str
    onvif_url: str
    profile: str
    username: str
    password: Secret


class Steering:
    """All movements of this process, one at a time per camera."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def move(self, target: Target, pan: float, tilt: float, zoom: float) -> None:
        """Starts or renews a movement with speeds −1…1. Raises camera.ptz_failed."""
        await self._command(target, (pan, tilt, zoom))
        self._forget(target.camera_id)
        self._stops[target.camera_id] = asyncio.create_task(
            self._stop_later(target), name=f"ptz-stop-{target.camera_id}"
        )

    async def stop(self, target: Target) -> None:
        self._forget(target.camera_id)
        await self._command(target, None)

    def _forget(self, camera_id: str) -> None:
        task = self._stops.pop(camera_id, None)
        if task is not None:
            task.cancel()

    async def _stop_later(self, target: Target) -> None:
        await asyncio.sleep(HOLD_S)
        self._stops.pop(target.camera_id, None)
        with contextlib.suppress(TiergateError):
            await self._command(target, None)

    async def _command(self, target: Target, speeds: tuple[float, float, float] | None) -> None:
        networks, timeout_s = self._settings.cameras.allowed_networks, self._settings.cameras.connect_timeout_s
        lock = self._locks.setdefault(target.camera_id, asyncio.Lock())
        try:
            async with (
                lock,
                onvif.connect(
                    target.onvif_url, target.username, target.password, networks, timeout_s, self._clock
                ) as device,
            ):
                if speeds is None:
                    await device.stop(target.profile)
                else:
                    await device.move(target.profile, *speeds)
        except TiergateError as error:
            raise TiergateError(Kind.UNAVAILABLE, "camera.ptz_failed", problem=error.reason.code) from error
