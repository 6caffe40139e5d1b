"""The API client of the command line: one decision point, the same as for everybody (DESIGN §3).

Without ``--url`` it talks to the node on this machine through ``run/admin.sock``; that socket gives no right by
itself. The session of ``tiergate login`` lies in the user's own folder, mode 0600, one per node.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx

from config.errors import HTTP_STATUS, Kind, TiergateError
from config.reasons import TABLE
from gateway.cli import context

_TIMEOUT_S = httpx.Timeout(60.0, connect=5.0)
_KIND_OF_STATUS = {status: kind for kind, status in HTTP_STATUS.items()} | {400: Kind.INVALID}


class ApiError(TiergateError):
    """A problem+json answer: keeps the node's own words, also for codes this version does not know."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        kind = _KIND_OF_STATUS.get(status, Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)
        code = str(problem.get("code", ""))
        params = problem.get("params") or {}
        if code in TABLE:
            super().__init__(kind, code, **params)
        else:
            super().__init__(kind, "cli.api", status=status, title=str(problem.get("title", ""))[:200])


def _session_file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tiergate" / "sessions.json"


def node_key() -> str:
    """Under which name this node's session is kept."""
    return context.GLOBALS.url or str(context.settings().paths.data.resolve())


def sessions() -> dict[str, str]:
    try:
        found = json.loads(_session_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def keep_session(bearer: str | None) -> None:
    """Stores, or with None forgets, the session of this node."""
    known = sessions()
    known.pop(node_key(), None)
    if bearer is not None:
        known[node_key()] = bearer
    path = _session_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_suffix(".new")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.replace(fresh, path)


def _client() -> httpx.Client:
    bearer = os.environ.get("TIERGATE_TOKEN") or sessions().get(node_key())
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    if context.GLOBALS.url:
        verify: bool | str = os.environ.get("TIERGATE_CA", True)
        return httpx.Client(base_url=context.GLOBALS.url, headers=headers, timeout=_TIMEOUT_S, verify=verify)
    socket = context.settings().paths.run_dir / "admin.sock"
    if not socket.exists():
        raise TiergateError(Kind.ENVIRONMENT, "cli.node_not_running")
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(base_url="http://localhost", headers=headers, timeout=_TIMEOUT_S, transport=transport)


def call(method: str, path: str, *, params: dict[str, Any] | None = None, body: Any = None) -> Any:
    """The answer's JSON (None when empty). Raises ApiError, cli.node_not_running, cli.unreachable."""
    query = {k: v for k, v in (params or {}).items() if v is not None}
    try:
        with _client() as client:
            answer = client.request(method, f"/api/v1{path}", params=query, json=body)
    except httpx.HTTPError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "cli.unreachable", problem=type(exc).__name__) from exc
    if answer.is_success:
        return answer.json() if answer.content else None
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    raise ApiError(answer.status_code, problem if isinstance(problem, dict) else {})


def download(path: str, params: dict[str, Any], target: Path) -> int:
    """Streams an answer into `target` (never over an existing file); bytes written."""
    query = {k: v for k, v in params.items() if v is not None}
    written = 0
    try:
        with _client() as client, client.stream("GET", f"/api/v1{path}", params=query) as answer:
            if not answer.is_success:
                answer.read()
                raise ApiError(answer.status_code, answer.json())
            with open(target, "xb") as file:
                for chunk in answer.iter_bytes():
                    written += file.write(chunk)
    except FileExistsError:
        raise TiergateError(Kind.CONFLICT, "cli.file_exists", path=target) from None
    except httpx.HTTPError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "cli.unreachable", problem=type(exc).__name__) from exc
    return written


def get(path: str, **params: Any) -> Any:
    return call("GET", path, params=params)


def everything(path: str, **params: Any) -> dict[str, Any]:
    """All pages of a list."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = get(path, cursor=cursor, **params)
        items += page["items"]
        cursor = page.get("next")
        if not cursor:
            return {"items": items, "next": None}


def post(path: str, body: Any = None, **params: Any) -> Any:
    return call("POST", path, params=params, body=body)


def patch(path: str, body: Any) -> Any:
    return call("PATCH", path, body=body)


def put(path: str, body: Any) -> Any:
    return call("PUT", path, body=body)


def delete(path: str) -> Any:
    return call("DELETE", path)
