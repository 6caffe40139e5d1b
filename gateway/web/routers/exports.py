"""``/exports``: evidence packages.

Belongs here: parameters, permission, register, headers. Does not belong here: what is in a package and how it is made
(`gateway.evidence`).
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any, cast

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Connection

from config.errors import Kind, TiergateError
from config.ids import region_code
from config.units import SHANGHAI, format_time_ms, parse_time_ms
from gateway import __version__
from gateway.access.ids import fresh_id
from gateway.access.looks import Look
from gateway.access.purposes import REASON_MINIMUM
from gateway.evidence import contents, sending
from gateway.evidence.verifier import AUDIT_ACTION
from gateway.playback import hls
from gateway.playback.footage import Footage
from gateway.web.downloads import Download, pieces
from gateway.web.policy import client_of, policy
from gateway.web.routers.checkpoints import newest_head_of
from gateway.web.routers.playback import From, Purpose, StreamName, To, playback_of
from gateway.web.services import Services, services_of
from gateway.web.wire import CaseNo, Why
from storage.audit import log, signed
from tiering.access import Function, Principal, Stream

router = APIRouter(prefix="/api/v1/exports", tags=["exports"])

Cameras = Annotated[list[str], Query(alias="camera", min_length=1, max_length=contents.MOST_CAMERAS)]

#: A proxy in front takes 4 KiB of headers (nginx), and a day of a bad line has hundreds of gaps.
_MOST_LISTED = 15


@router.get("/evidence.zip", response_class=Response)
async def evidence(
    request: Request,
    principal: Annotated[Principal, policy(users_only=True)],
    camera: Cameras,
    from_: From,
    to: To,
    reason: Why = "",
    stream: StreamName = "main",
    purpose: Purpose = "evidence",
    case_no: CaseNo = None,
) -> Response:
    """The segments of a window of at most 24 h as they were recorded, of up to 16 cameras, with a signed manifest and
    the program that judges it, as one ZIP (no ``Content-Length``).

    For people who may export and hold footage of each of the cameras, which must be this node's own. Segments are not
    cut: the caller must be allowed the time that the first and the last show beyond the window, too. Nothing of the
    window may still be being recorded. The package breaks off, without a signature, when a right ends or bytes cannot
    be read; ``tiergate export verify`` judges it. It carries a signed head of the audit log: over a log that does not
    hold what was signed before there is none, and no package until somebody has reviewed it (409 ``ops.audit_cut``).

    ``X-Tiergate-Gaps`` lists what of the window is missing in it, and ``X-Tiergate-Damaged`` the segments that are
    known not to be as recorded (of which a whole second copy may be in the package; the manifest says what differs):
    ``[{"camera", "from_ms", "to_ms"}]``, at most 15 each, the longest ones. ``X-Tiergate-Not-Listed``: how many more
    there are; the manifest has all.
    """
    if len(reason.strip()) < REASON_MINIMUM:
        raise TiergateError(Kind.INVALID, "media.play_reason_short", minimum=REASON_MINIMUM)
    from_ms, to_ms = parse_time_ms(from_), parse_time_ms(to)
    hls.check_window(from_ms, to_ms)
    services, ids = services_of(request), list(dict.fromkeys(camera))
    footage, asked, client = playback_of(services).footage, cast("Stream", stream), client_of(request)
    # The decision before the footage is looked for: what may not be seen must not be timed either.
    for id_ in ids:
        resource, _ = await services.looks.decide(
            principal, Function.EXPORT, id_, stream=asked, from_ms=from_ms, to_ms=to_ms, purpose=purpose,
            client=client, original=True,
        )  # fmt: skip
        if resource.origin != "own":
            raise TiergateError(Kind.CONFLICT, "media.evidence_own_only", camera=id_)
    await _require_recorded(services, footage, ids, stream, from_ms, to_ms)
    head = await newest_head_of(services)
    found = await services.read(lambda c: contents.read(c, ids, stream, from_ms, to_ms))
    async with contextlib.AsyncExitStack() as stack:
        looks: list[Look] = []
        for part in found.cameras:
            low_ms, high_ms = part.covers(from_ms, to_ms)
            looks.append(
                await stack.enter_async_context(
                    services.looks.open(
                        principal, Function.EXPORT, part.camera.id,
                        stream=asked, from_ms=low_ms, to_ms=high_ms, purpose=purpose, reason=reason.strip(),
                        case_no=case_no, client=client, watermark=False,
                    )
                )
            )  # fmt: skip
        maker = _maker(services, principal, purpose, reason.strip(), case_no, looks)
        chunks = sending.send(footage, found, maker, partial(_record, services, principal, maker.package_id, head))
        stack.push_async_callback(chunks.aclose)
        first = await anext(chunks)  # what cannot begin is said with a reason
        headers = {
            "Content-Disposition": f'attachment; filename="{_file_name(ids, from_ms, to_ms)}"',
            "Cache-Control": "no-store",
            **_told(found),
        }
        return Download(_sent(first, chunks, looks), looks, headers, "application/zip", stack.pop_all())
    raise AssertionError("not reached")


def _told(found: contents.Contents) -> dict[str, str]:
    """Headers of what is missing and what is damaged, as of a clip."""
    gaps = [(part.camera.id, *r) for part in found.cameras for r in part.missing(found.from_ms, found.to_ms)]
    damaged = [(part.camera.id, *r) for part in found.cameras for r in part.damaged()]
    more = sum(max(0, len(ranges) - _MOST_LISTED) for ranges in (gaps, damaged))
    return {
        "X-Tiergate-Gaps": _listed(gaps),
        "X-Tiergate-Damaged": _listed(damaged),
        "X-Tiergate-Not-Listed": str(more),
    }


def _listed(ranges: Sequence[tuple[str, int, int]]) -> str:
    longest = sorted(ranges, key=lambda r: r[1] - r[2])[:_MOST_LISTED]
    return json.dumps([{"camera": camera, "from_ms": a, "to_ms": b} for camera, a, b in sorted(longest)])


async def _require_recorded(
    services: Services, footage: Footage, ids: Sequence[str], stream: str, from_ms: int, to_ms: int
) -> None:
    """Raises media.evidence_not_yet: what grows has no digest, and of a time to come nobody can say what is missing."""
    ends = [services.now_ms()]
    for id_ in ids:
        growing = await footage.growing(id_, stream, from_ms, to_ms)
        if growing is not None:
            ends.append(growing.start_ms)
    if min(ends) < to_ms:
        raise TiergateError(Kind.CONFLICT, "media.evidence_not_yet", at=format_time_ms(min(ends), local=True))


def _maker(
    services: Services, principal: Principal, purpose: str, reason: str, case_no: str | None, looks: Sequence[Look]
) -> sending.Maker:
    node = services.settings.node
    return sending.Maker(
        package_id=fresh_id(services.clock),
        made_ms=services.now_ms(),
        node={
            "id": services.keys.node_id,
            "name": node.name,
            "region": region_code(node.region),
            "tier": node.tier,
            "version": __version__,
        },
        private_key=services.keys.node,
        person={"person": principal.name, "unit": principal.unit, "actor": principal.actor},
        purpose=purpose,
        reason=reason,
        case_no=case_no,
        registers=[look.register_id for look in looks],
    )


async def _record(
    services: Services, principal: Principal, package_id: str, head: log.Checkpoint | None, details: dict[str, Any]
) -> tuple[log.Entry, log.Checkpoint]:
    """The entry, and the head that it is at this moment: nobody else writes in between. `head`: the newest one when
    the package was begun, which the log must still hold."""
    now_ms = services.now_ms()

    def write(connection: Connection) -> tuple[log.Entry, log.Checkpoint]:
        signed.require_held(connection, head)
        log.append(connection, now_ms, principal.actor, AUDIT_ACTION, package_id, details)
        (entry,) = log.tail(connection, 1)
        return entry, log.checkpoint(connection, services.keys.node, now_ms)

    return await services.write(write)


async def _sent(
    first: sending.Part, chunks: AsyncGenerator[sending.Part, None], looks: Sequence[Look]
) -> AsyncIterator[bytes]:
    part: sending.Part | None = first
    while part is not None:
        for piece in pieces(part.data):
            looks[part.camera].add_bytes(len(piece))
            yield piece
        part = await anext(chunks, None)


def _file_name(ids: Sequence[str], from_ms: int, to_ms: int) -> str:
    """Times as the wall clock in the room shows them."""
    first, last = (datetime.fromtimestamp(ms // 1000, SHANGHAI).strftime("%Y%m%dT%H%M%S") for ms in (from_ms, to_ms))
    return f"evidence_{ids[0]}{f'_and_{len(ids) - 1}_more' if len(ids) > 1 else ''}_{first}_{last}.zip"
