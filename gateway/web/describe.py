"""The API as an OpenAPI document: made from the routes, written to ``docs/openapi.json`` by ``scripts/openapi``.

Each operation says which policy it demands (``x-tiergate-policy``) and that every failure is problem+json.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from fastapi import FastAPI

from gateway.web.policy import Policy, declared
from gateway.web.routers import ROUTERS

DESCRIPTION = "Video gateway of one governance centre. Errors are problem+json with a reason code and both sentences."
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "params", "en", "zh"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "Stable, machine-readable."},
        "params": {"type": "object"},
        "en": {"type": "string"},
        "zh": {"type": "string"},
    },
}


def _words(policy: Policy) -> dict[str, Any]:
    if policy.function is not None:
        return {"function": policy.function.value}
    if policy.roles:
        return {"roles": sorted(policy.roles)}
    for name in ("public", "path_session", "camera", "users_only"):
        if getattr(policy, name):
            return {name: True}
    return {"signed_in": True}


def document() -> dict[str, Any]:
    app = FastAPI(
        title="tiergate", version="1", description=DESCRIPTION, openapi_url=None, docs_url=None, redoc_url=None
    )
    for router in ROUTERS:
        app.include_router(router)
    policies = {(method.lower(), d.path): d.policy for d in declared(app) for method in d.methods}
    value = app.openapi()
    schemas = value.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas["Problem"] = _PROBLEM
    value["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "A session or a department's token."},
        "cookie": {"type": "apiKey", "in": "cookie", "name": "tiergate_session"},
    }
    problem = {
        "description": "A problem with its reason",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for path, operations in value["paths"].items():
        for method, operation in operations.items():
            policy = policies[method, path]
            operation["x-tiergate-policy"] = _words(policy)
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = problem
            if not policy.public and not policy.path_session:
                operation["security"] = [{"bearer": []}, {"cookie": []}]
    return value


def text() -> str:
    return json.dumps(document(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    sys.stdout.write(text())


if __name__ == "__main__":
    main()
