"""The page: ``/`` and its files. Everything on it comes through the API; the files say nothing about this node."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import FileResponse

from config.errors import Kind, TiergateError
from gateway.web.policy import policy
from tiering.access import Principal

router = APIRouter(include_in_schema=False)
FOLDER = Path(__file__).parents[1] / "page"
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".html": "text/html",
}


def file_of(name: str, folder: Path = FOLDER) -> Path:
    """The file of that name under `folder`; raises NOT_FOUND for anything outside it (FAULTS S8)."""
    missing = TiergateError(Kind.NOT_FOUND, "web.route_unknown")
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(p in ("", ".", "..") or p.startswith(".") for p in parts):
        raise missing
    root = folder.resolve()
    try:
        path = (root / name).resolve(strict=True)
    except OSError:
        raise missing from None
    if not path.is_relative_to(root) or not path.is_file():
        raise missing
    return path


def _answer(path: Path) -> FileResponse:
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, media_type=media_type, headers={"Cache-Control": "no-cache"})


@router.get("/")
async def index(principal: Annotated[Principal | None, policy(public=True)]) -> FileResponse:
    return _answer(file_of("index.html"))


@router.get("/favicon.ico")
async def icon(principal: Annotated[Principal | None, policy(public=True)]) -> FileResponse:
    return _answer(file_of("icon.svg"))


@router.get("/page/{name:path}")
async def static(name: str, principal: Annotated[Principal | None, policy(public=True)]) -> FileResponse:
    return _answer(file_of(name))
