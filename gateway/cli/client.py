"""The API client of the command line: one decision point, the same as for everybody (DESIGN §3).

Without ``--url`` it talks to the node on this machine through ``run/admin.sock``; that socket gives no right by
itself. The session of ``tiergate login`` lies in the user's own folder, mode 0600, one per node.
"""

from __future__ import annotations

import contextlib
import json
import os
import ssl
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from config.errors import HTTP_STATUS, Kind, TiergateError
from config.reasons import TABLE
from gateway.cli import context
from gateway.cli.files import new_file

_TIMEOUT_S = httpx.Timeout(60.0, connect=5.0)
_KIND_OF_STATUS = {status: kind for kind, status in HTTP_STATUS.items()} | {400: Kind.INVALID}


class ApiError(TiergateError):
    """A problem+json answer: keeps the node's own words, also for codes this version does not know."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        kind = _KIND_OF_STATUS.get(status, Kind.UNAVAILABLE if status >= 500 else Kind.INVALID)
        code = str(problem.get("code", ""))
        params = problem.get("params") or {}
        if code in ("access.not_signed_in", "access.session_over"):
            super().__init__(kind, "cli.not_signed_in")
        elif code in TABLE:
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


def require_place_for_sessions() -> None:
    """Raises cli.os when a session could not be kept."""
    path = _session_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, probe = tempfile.mkstemp(dir=path.parent)
        os.close(descriptor)
        os.unlink(probe)
    except OSError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "cli.os", path=path.parent, problem=exc.strerror) from exc


def keep_session(bearer: str | None) -> None:
    """Stores, or with None forgets, the session of this node."""
    from storage.volume import replace_synced

    known = sessions()
    known.pop(node_key(), None)
    if bearer is not None:
        known[node_key()] = bearer
    path = _session_file()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    replace_synced(path, json.dumps(known).encode())


def part(value: str) -> str:
    """`value` as one part of a path. What cannot be an id is not found here, before it can be another path."""
    if value in ("", ".", "..") or "/" in value:
        raise TiergateError(Kind.NOT_FOUND, "access.not_found")
    return quote(value, safe="", errors="replace")


def _client() -> httpx.Client:
    bearer = os.environ.get("TIERGATE_TOKEN", "").strip() or sessions().get(node_key())
    if bearer and not (bearer.isascii() and bearer.isprintable()):
        raise TiergateError(Kind.UNAUTHENTICATED, "cli.token_malformed")
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    url = context.GLOBALS.url
    if url:
        if not url.startswith(("http://", "https://")) or not url.isprintable():
            raise TiergateError(Kind.INVALID, "cli.url_malformed")
        try:
            verify: bool | str = os.environ.get("TIERGATE_CA") or True
            return httpx.Client(base_url=url, headers=headers, timeout=_TIMEOUT_S, verify=verify)
        except OSError as exc:  # ssl.SSLError is one
            raise TiergateError(Kind.ENVIRONMENT, "cli.ca_unreadable") from exc
        except (httpx.InvalidURL, UnicodeError) as exc:
            raise TiergateError(Kind.INVALID, "cli.url_malformed") from exc
    socket = context.settings().paths.run_dir / "admin.sock"
    if not socket.exists():
        raise TiergateError(Kind.ENVIRONMENT, "cli.node_not_running")
    transport = httpx.HTTPTransport(uds=str(socket))
    return httpx.Client(base_url="http://localhost", headers=headers, timeout=_TIMEOUT_S, transport=transport)


@contextlib.contextmanager
def _connected() -> Iterator[httpx.Client]:
    """A client; whatever goes wrong on the way is one of our reasons."""
    try:
        with _client() as client:
            yield client
    except httpx.HTTPError as exc:
        raise _away(exc) from exc
    except (httpx.InvalidURL, UnicodeEncodeError) as exc:
        raise TiergateError(Kind.INVALID, "cli.not_text") from exc


def _away(exc: BaseException) -> TiergateError:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return TiergateError(Kind.ENVIRONMENT, "cli.certificate", problem=cause.verify_message)
        cause = cause.__cause__ or cause.__context__
    return TiergateError(Kind.UNAVAILABLE, "cli.unreachable", problem=type(exc).__name__)


def call(method: str, path: str, *, params: dict[str, Any] | None = None, body: Any = None) -> Any:
    """The answer's JSON (None when empty). Raises ApiError, cli.node_not_running, cli.unreachable and their kin."""
    query = {k: v for k, v in (params or {}).items() if v is not None}
    with _connected() as client:
        answer = client.request(method, f"/api/v1{path}", params=query, json=body)
    if not answer.is_success:
        raise _refusal(answer)
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError as exc:
        raise TiergateError(Kind.UNAVAILABLE, "cli.not_a_node") from exc


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    return ApiError(answer.status_code, problem if isinstance(problem, dict) else {})


def download(path: str, params: dict[str, Any], target: Path) -> tuple[int, httpx.Headers]:
    """Streams an answer into `target`, never over an existing file: bytes written, and what the node says of them.

    The file has its name when it is whole. Whether it can be made is seen before the node is asked: what it gives
    stands in its register.
    """
    query = {k: v for k, v in params.items() if v is not None}
    written = 0
    try:
        with (
            new_file(target) as file,
            _connected() as client,
            client.stream("GET", f"/api/v1{path}", params=query) as answer,
        ):
            if not answer.is_success:
                answer.read()
                raise _refusal(answer)
            for chunk in answer.iter_bytes():
                written += file.write(chunk)
    except OSError as exc:
        raise TiergateError(Kind.ENVIRONMENT, "cli.file_unwritable", path=target) from exc
    return written, answer.headers


def get(path: str, **params: Any) -> Any:
    return call("GET", path, params=params)


def everything(path: str, **params: Any) -> dict[str, Any]:
    """All pages of a list."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = get(path, cursor=cursor, **params)
        if not isinstance(page, dict) or not isinstance(page.get("items"), list):
            raise TiergateError(Kind.UNAVAILABLE, "cli.not_a_node")
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
