"""docs/openapi.json says what the routes are."""

from __future__ import annotations

from pathlib import Path

from gateway.web.describe import document, text

FILE = Path(__file__).parents[3] / "docs" / "openapi.json"


def test_the_document_is_that_of_the_routes() -> None:
    assert FILE.read_text(encoding="utf-8") == text(), "run scripts/openapi"


def test_every_operation_says_its_policy_and_its_problems() -> None:
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            assert operation["x-tiergate-policy"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"]
