"""Shapes that several routers share: strict bodies, times and pages."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from config.errors import Kind, TiergateError
from config.names import hides_something
from config.units import parse_time_ms

MOST_ROWS = 1_000


class Body(BaseModel):
    """A request body: unknown fields are refused, text is not silently turned into numbers, and none has a NUL, which
    PostgreSQL cannot store (the `Guard` sees to that of addresses)."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    @field_validator("*", mode="before")
    @classmethod
    def _no_nul(cls, value: Any) -> Any:
        rest = [value]
        while rest:
            one = rest.pop()
            if isinstance(one, str) and "\0" in one:
                raise _hidden()
            if isinstance(one, dict):
                rest += [*one, *one.values()]
            elif isinstance(one, list):
                rest += one
        return value


def _hidden() -> PydanticCustomError:
    return PydanticCustomError("hidden_characters", "control or invisible characters are not allowed")


def _no_controls(value: str) -> str:
    if hides_something(value):
        raise _hidden()
    return value


def _lines(value: str) -> str:
    """Several lines of text: line breaks and tabs are all the control characters that it may have."""
    for line in value.replace("\t", " ").splitlines():
        if line.strip():
            _no_controls(line)
    return value


#: A name or label: trimmed, 1 to 120 characters, nothing invisible that could disguise it.
Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120), AfterValidator(_no_controls)
]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200), AfterValidator(_no_controls)]
LongText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000), AfterValidator(_lines)]
#: Why somebody looks, and for which case, in the address of a picture.
Why = Annotated[LongText, Query()]
CaseNo = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=120), AfterValidator(_no_controls)] | None,
    Query(),
]


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _not_a_time()
    try:
        return parse_time_ms(str(value))
    except TiergateError:
        raise _not_a_time() from None


def _not_a_time() -> PydanticCustomError:
    return PydanticCustomError("time_malformed", "write RFC 3339 with a zone, or epoch milliseconds")


#: RFC 3339 with a zone or epoch milliseconds, as epoch milliseconds.
TimeMs = Annotated[int, BeforeValidator(_time)]

Limit = Annotated[int, Query(ge=1, le=MOST_ROWS)]
Cursor = Annotated[str | None, Query(max_length=64)]


def page(items: list[Any], next_: str | None = None) -> dict[str, Any]:
    return {"items": items, "next": next_}


def paged(rows: list[Any], limit: int, key: str) -> tuple[list[Any], str | None]:
    """`rows` were read with one more than `limit`: that one only says that there is a next page."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], str(getattr(rows[limit - 1], key))


def seq_cursor(cursor: str | None) -> int | None:
    """Raises web.cursor."""
    if cursor is None:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise TiergateError(Kind.INVALID, "web.cursor")
    return int(cursor)
