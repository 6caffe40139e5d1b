"""The one exception of tiergate, its kinds, and the two tables that turn a kind into an answer. (pure)

An error is a `Reason` (code + parameters, words in `config.reasons`) plus a `Kind`. The API turns the kind into an
HTTP status, the command line into an exit code; nobody else decides either. Driver errors are wrapped with
``raise TiergateError(...) from exc`` so that the precise one stays in ``__cause__`` and never reaches a user.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from config.reasons import Reason, text


class Kind(Enum):
    """What sort of failure it is, as its receiver sees it."""

    INVALID = "invalid"  #: the request itself is wrong; the caller can mend it
    UNAUTHENTICATED = "unauthenticated"  #: no, bad, expired or revoked credential
    FORBIDDEN = "forbidden"  #: visible to the caller, but not allowed
    NOT_FOUND = "not_found"  #: does not exist, or not in the caller's catalogue (the two must look alike)
    CONFLICT = "conflict"  #: the state of things forbids it
    TOO_LARGE = "too_large"  #: body or range over a limit
    RATE_LIMITED = "rate_limited"  #: too often, or no budget left on a line
    UNAVAILABLE = "unavailable"  #: a part of the system or a camera does not answer now
    ENVIRONMENT = "environment"  #: this machine is not set up for it (missing file, port in use, disk)


#: RFC 9110 status for each kind.
HTTP_STATUS: dict[Kind, int] = {
    Kind.INVALID: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.TOO_LARGE: 413,
    Kind.RATE_LIMITED: 429,
    Kind.UNAVAILABLE: 503,
    Kind.ENVIRONMENT: 500,
}

#: Exit codes of DESIGN §8: 0 done, 1 refused or found, 2 usage, 3 environment, 4 not signed in.
EXIT_CODE: dict[Kind, int] = {
    Kind.INVALID: 2,
    Kind.UNAUTHENTICATED: 4,
    Kind.FORBIDDEN: 1,
    Kind.NOT_FOUND: 1,
    Kind.CONFLICT: 1,
    Kind.TOO_LARGE: 2,
    Kind.RATE_LIMITED: 1,
    Kind.UNAVAILABLE: 3,
    Kind.ENVIRONMENT: 3,
}


class TiergateError(Exception):
    """A failure with a reason that may be shown to whoever asked.

    Parameters must be safe to show: no secret, no path of the server, no SQL.
    """

    def __init__(self, kind: Kind, code: str, **params: Any) -> None:
        self.kind = kind
        self.reason = Reason(code, params)
        super().__init__(text(self.reason, "en"))

    @property
    def http_status(self) -> int:
        return HTTP_STATUS[self.kind]

    @property
    def exit_code(self) -> int:
        return EXIT_CODE[self.kind]
