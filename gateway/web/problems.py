"""Every failure as problem+json (RFC 9457) with a reason code and both sentences; no traceback, no driver's text.

What we did not foresee is logged under an error id, and only the id goes out (FAULTS S24).
"""

from __future__ import annotations

import logging
import secrets
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.requests import HTTPConnection, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from config.errors import HTTP_STATUS, Kind, TiergateError
from config.reasons import Reason
from storage.catalog.engine import UNAVAILABLE

_log = logging.getLogger(__name__)
_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
MEDIA_TYPE = "application/problem+json"


def problem(status: int, reason: Reason, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"type": f"urn:tiergate:reason:{reason.code}", "title": _TITLES.get(status, "Error"), "status": status}
    return JSONResponse(body | reason.as_json(), status, headers, media_type=MEDIA_TYPE)


def of_error(error: TiergateError) -> JSONResponse:
    headers: dict[str, str] = {}
    if error.kind is Kind.UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if error.kind is Kind.RATE_LIMITED:
        headers["Retry-After"] = str(error.reason.params.get("seconds", 5))
    if error.kind is Kind.UNAVAILABLE:
        headers["Retry-After"] = "2"
    return problem(HTTP_STATUS[error.kind], error.reason, headers)


def internal(connection: HTTPConnection, error: BaseException) -> JSONResponse:
    error_id = secrets.token_hex(6)
    _log.error("error %s in %s", error_id, connection.url.path, exc_info=error)
    return problem(500, Reason("internal", {"error_id": error_id}))


async def _tiergate(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, TiergateError)  # noqa: S101 - registered for this class
    return of_error(error)


#: What pydantic calls a fault -> (the code's last word, the parameter that says more, where pydantic keeps it).
_FAULTS: dict[str, tuple[str, str | None, str | None]] = {
    "missing": ("missing", None, None),
    "extra_forbidden": ("unknown", None, None),
    "string_too_long": ("too_long", "limit", "max_length"),
    "too_long": ("too_long", "limit", "max_length"),
    "string_too_short": ("too_short", "limit", "min_length"),
    "too_short": ("too_short", "limit", "min_length"),
    "less_than_equal": ("too_large", "limit", "le"),
    "less_than": ("too_large", "limit", "lt"),
    "greater_than_equal": ("too_small", "limit", "ge"),
    "greater_than": ("too_small", "limit", "gt"),
    "literal_error": ("choice", "choices", "expected"),
    "enum": ("choice", "choices", "expected"),
    "string_unicode": ("controls", None, None),
    "hidden_characters": ("controls", None, None),
    "time_malformed": ("time", None, None),
    "json_invalid": ("json", None, None),
}
_WANTED = {"int": "integer", "float": "number", "bool": "boolean", "string": "string", "list": "list", "dict": "object"}


async def _invalid(connection: HTTPConnection, error: Exception) -> Response:
    """The first fault by its field; the value itself may be a secret and is not repeated."""
    assert isinstance(error, (RequestValidationError, WebSocketRequestValidationError))  # noqa: S101 - as above
    return problem(422, _fault(dict(error.errors()[0])))


def _fault(first: dict[str, Any]) -> Reason:
    kind, context = str(first["type"]), first.get("ctx") or {}
    place = [str(part) for part in first["loc"]]
    named = place[1:] if place and place[0] in ("body", "query", "path", "header", "cookie") else place
    field = (".".join(named) or "body")[:120]
    if kind in _FAULTS:
        word, name, source = _FAULTS[kind]
        said = {name: str(context.get(source, "")).replace("'", "")} if name is not None else {}
        return Reason(f"web.body_malformed.{word}", {"field": field} | said)
    wanted = _WANTED.get(kind.partition("_")[0])
    if wanted is not None and kind.endswith(("_type", "_parsing", "_attributes_type", "_from_float", "finite_number")):
        return Reason("web.body_malformed.type", {"field": field, "wanted": wanted})
    return Reason("web.body_malformed", {"field": field})


async def _http(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    if error.status_code == 404:
        reason = Reason("web.route_unknown")
    elif error.status_code == 405:
        method = connection.method if isinstance(connection, Request) else "WebSocket"
        reason = Reason("web.method_unknown", {"method": method[:20]})
    elif error.status_code == 413:
        reason = Reason("web.body_too_large", {"limit_bytes": BODY_LIMIT_BYTES})
    else:
        reason = Reason("web.refused", {"status": error.status_code})
    headers = dict(error.headers) if error.headers else None
    return problem(error.status_code, reason, headers)


async def _database(connection: HTTPConnection, error: Exception) -> Response:
    _log.error("the catalog refused", exc_info=error)
    return problem(503, Reason("web.unavailable"), {"Retry-After": "2"})


BODY_LIMIT_BYTES = 1 << 20


def install(app: FastAPI) -> None:
    app.add_exception_handler(TiergateError, _tiergate)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for unavailable in UNAVAILABLE:
        app.add_exception_handler(unavailable, _database)
