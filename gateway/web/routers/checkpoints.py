"""``/audit/checkpoint``: the head of the audit log, signed now: what makes an export prove its own end.
``/audit/review``: a person's word about an end that was cut. And what other routes ask about the heads in the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Request
from pydantic import Field

from config import crypto
from config.errors import Kind, TiergateError
from gateway.ops.disks import store_silent
from gateway.web.policy import policy
from gateway.web.services import Services, services_of
from gateway.web.wire import Body, LongText
from storage.audit import signed
from storage.audit.log import Checkpoint
from storage.audit.signed import Standing
from storage.objects import make_store
from tiering.access import Principal

T = TypeVar("T")

router = APIRouter(prefix="/api/v1", tags=["audit"])


class Review(Body):
    words: LongText = Field(min_length=5, max_length=2000)


async def _of_store(services: Services, work: Callable[[], T]) -> T:
    """In a thread. A store whose volume is missing, or hangs, is one that does not answer now: 503, as every other."""

    def asked() -> T:
        hangs = store_silent(services.settings)
        if hangs is not None:
            raise TiergateError(Kind.UNAVAILABLE, hangs.code, **hangs.params)
        return work()

    try:
        return await asyncio.to_thread(asked)
    except TiergateError as exc:
        if exc.kind is not Kind.ENVIRONMENT:
            raise
        raise TiergateError(Kind.UNAVAILABLE, exc.reason.code, **exc.reason.params) from exc


async def standing_of(services: Services) -> Standing:
    """What the signed heads in the store say of the log. Raises what the store raises."""

    def work() -> Standing:
        keys, store = services.keys, make_store(services.settings)
        return signed.judge(services.catalog.read, store, keys.node_id, keys.node_public, services.now_ms())

    return await _of_store(services, work)


async def newest_head_of(services: Services) -> Checkpoint | None:
    """For whoever will sign one behind it: the newest head in the store, which the log holds. With a store that does
    not answer it goes by what the keeper has told: what is still in the spools must not wait for it, least of all
    evidence. Raises ops.audit_cut."""

    def work() -> Checkpoint | None:
        keys, store = services.keys, make_store(services.settings)
        return signed.newest_held(services.catalog.read, store, keys.node_id, keys.node_public, services.now_ms())

    await services.read(signed.require_untold)
    try:
        return await _of_store(services, work)
    except TiergateError as exc:
        if exc.kind is not Kind.UNAVAILABLE:
            raise
        return None


@router.get("/audit/checkpoint")
async def checkpoint(request: Request, principal: Annotated[Principal, policy(role="audit_admin")]) -> dict[str, Any]:
    """Over a log that does not hold what was signed into the store nothing is signed: 409 `ops.audit_cut`."""
    services = services_of(request)

    def work() -> Checkpoint:
        keys = services.keys
        store, sign = make_store(services.settings), partial(crypto.sign, keys.node)
        signer = signed.HeadSigner(services.catalog, store, keys.node_id, keys.node_public, sign)
        return signer.write(services.now_ms())

    return (await _of_store(services, work)).as_json()


@router.post("/audit/review")
async def review(
    request: Request,
    body: Review,
    principal: Annotated[Principal, policy(role=("security_admin", "audit_admin"))],
) -> dict[str, Any]:
    """What was found about an end of the log that was cut. The alarm ends, and heads are signed again; the cut and
    these words stay in the log. 409 where nothing was cut."""
    services = services_of(request)
    keys, now_ms = services.keys, services.now_ms()
    cut = (await standing_of(services)).cut
    return {
        "reviewed": await services.write(
            lambda c: signed.review(c, keys.node_id, keys.node, cut, principal.actor, body.words, now_ms)
        )
    }
