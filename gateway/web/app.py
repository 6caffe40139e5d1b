"""The application: routers, errors, guard, life, from one `Services` object.

A route without a policy refuses to start.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from gateway.web import policy, problems
from gateway.web.describe import DESCRIPTION
from gateway.web.middleware import Guard
from gateway.web.routers import ROUTERS
from gateway.web.services import Services


def build(services: Services) -> FastAPI:
    """Raises LookupError for a route without a policy."""

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            for start in (
                services.watch.running,
                services.registers.tending,
                services.looks.watching,
                services.media_sessions.tending,
                *services.background,
            ):
                await stack.enter_async_context(start())
            yield

    app = FastAPI(
        title="tiergate",
        version="1",
        description=DESCRIPTION,
        lifespan=life,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    problems.install(app)
    for router in ROUTERS:
        app.include_router(router)
    policy.declared(app)
    app.add_middleware(Guard, settings=services.settings)
    return app
