"""What the relay does for the other processes of this node: `/local/v1/…` on ``run/relay.sock`` (0700; no other door).

The caller has decided who may: bodies carry names for registers and audit, not credentials.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from config.units import parse_time_ms
from gateway.relay.keeping import Keeping
from gateway.relay.limits import LinkLimits
from gateway.relay.pulls import PullOrder, Pulls
from gateway.relay.tier_app import guarded, number, read_body, unknown, while_there
from gateway.relay.upstream import Upstreams
from tiering import wire

READ_MAX_BYTES = 8 << 20


def order_from_json(value: dict[str, Any]) -> PullOrder:
    persons = tuple(wire.person_field({"p": p}, "p") for p in wire.list_field(value, "persons", 50))
    functions = wire.optional(value, "functions", wire.texts_field)
    return PullOrder(
        mechanism=wire.text_field(value, "mechanism", 40, 1),
        case_no=wire.text_field(value, "case", wire.NAME_MAX),
        reason=wire.text_field(value, "reason"),
        requester=wire.person_field(value, "requester"),
        persons=persons,
        cameras=wire.texts_field(value, "cameras"),
        minutes=wire.int_field(value, "minutes", 1, wire.MINUTES_MAX),
        actor=wire.text_field(value, "actor", 120, 1),
        functions=functions,
        max_stream="sub" if value.get("max_stream") == "sub" else "main",
        approver=wire.optional(value, "approver", wire.person_field),
        from_ms=wire.optional(value, "from_ms", wire.int_field),
        to_ms=wire.optional(value, "to_ms", wire.int_field),
        cache_minutes=wire.optional(value, "cache_minutes", wire.int_field),
    )


def build(
    pulls: Pulls,
    keeping: Keeping,
    upstreams: Upstreams,
    limits: LinkLimits,
    accept: Callable[[str, str, str | None], Awaitable[str]],
) -> Starlette:
    Work = Callable[[Request, dict[str, Any]], Awaitable[dict[str, Any] | bytes]]

    def call(handler: Work) -> Callable[[Request], Awaitable[Response]]:
        async def work(request: Request) -> Response:
            body = await read_body(request)
            answer = await handler(request, wire.parse(body) if body else {})
            if isinstance(answer, bytes):
                return Response(answer, media_type="application/octet-stream")
            return Response(json.dumps(answer), media_type="application/json")

        return guarded(work)

    async def pull(_: Request, value: dict[str, Any]) -> dict[str, Any]:
        outcome = await pulls.open(order_from_json(value))
        return {
            "leases": [row.id for row in outcome.leases], "narrowed": outcome.narrowed, "refused": outcome.refused,
        }  # fmt: skip

    async def confirm(request: Request, value: dict[str, Any]) -> dict[str, Any]:
        who, actor = wire.person_field(value, "person"), wire.text_field(value, "actor", 120, 1)
        row = await pulls.confirm(request.path_params["lease"], who, actor)
        return {"id": row.id, "confirmed_ms": row.confirmed_ms}

    async def renew(request: Request, value: dict[str, Any]) -> dict[str, Any]:
        reason, actor = wire.text_field(value, "reason"), wire.text_field(value, "actor", 120, 1)
        minutes = wire.int_field(value, "minutes", 1, wire.MINUTES_MAX)
        row = await pulls.renew(request.path_params["lease"], reason, minutes, actor)
        return {"id": row.id, "expires_ms": row.expires_ms}

    async def end(request: Request, value: dict[str, Any]) -> dict[str, Any]:
        why, actor = wire.text_field(value, "reason", 40, 1), wire.text_field(value, "actor", 120, 1)
        row = await pulls.end(request.path_params["lease"], why, actor)
        await keeping.purge_due()
        return {"id": row.id, "ended_ms": row.ended_ms}

    async def index(request: Request, _: dict[str, Any]) -> dict[str, Any]:
        query, params = request.query_params, request.path_params
        low, high = parse_time_ms(query.get("from", "")), parse_time_ms(query.get("to", ""))
        return (await pulls.index(params["lease"], params["camera"], query.get("stream", "main"), low, high)).as_json()

    async def segment(request: Request, _: dict[str, Any]) -> bytes:
        query, params = request.query_params, request.path_params
        offset, length = number(request, "offset", 0), min(number(request, "length", READ_MAX_BYTES), READ_MAX_BYTES)
        if length == 0:
            return b""
        camera, stream = query.get("camera", ""), query.get("stream", "main")
        return await while_there(
            request, pulls.read(params["lease"], params["segment"], camera, stream, offset, length)
        )

    async def link(_: Request, value: dict[str, Any]) -> dict[str, Any]:
        code, actor = wire.text_field(value, "code", 2000, 1), wire.text_field(value, "actor", 120, 1)
        made = await accept(code, actor, wire.optional(value, "url", wire.text_field))
        await keeping.poll(made)  # the new node's cameras should be there when the answer is
        return {"id": made}

    async def status(_: Request, __: dict[str, Any]) -> dict[str, Any]:
        return {
            "upstreams": len(upstreams),
            "refused": dict(limits.refused),
            "problems": {link_id: reason.as_json() for link_id, reason in keeping.troubles.items()},
        }

    return Starlette(
        routes=[
            Route("/local/v1/pulls", call(pull), methods=["POST"]),
            Route("/local/v1/leases/{lease}/confirm", call(confirm), methods=["POST"]),
            Route("/local/v1/leases/{lease}/renew", call(renew), methods=["POST"]),
            Route("/local/v1/leases/{lease}/end", call(end), methods=["POST"]),
            Route("/local/v1/leases/{lease}/index/{camera}", call(index), methods=["GET"]),
            Route("/local/v1/leases/{lease}/segments/{segment}", call(segment), methods=["GET"]),
            Route("/local/v1/links/accept", call(link), methods=["POST"]),
            Route("/local/v1/status", call(status), methods=["GET"]),
            Route("/{rest:path}", guarded(unknown), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]),
        ]
    )
