"""What libav's failures mean: exception in, `SourceError` out.

libav quotes the URL, password included, in many texts; only redacted text leaves this module.
"""

from __future__ import annotations

import errno

import av.error

from config.redact import redact_text
from gateway.ingest.source import GapCause, SourceError

_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_ENDED = {errno.EPIPE, errno.ECONNRESET, errno.ECONNABORTED}

#: Beyond this a foreign sentence is noise.
_PROBLEM_MAX = 200


def source_error(error: BaseException, *, opening: bool) -> SourceError:
    """`error` of `av.open` (`opening`) or of demuxing."""
    number = getattr(error, "errno", None)
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceError(GapCause.CREDENTIALS, "camera.bad_login")
    if isinstance(error, av.error.HTTPNotFoundError):
        return SourceError(GapCause.CAMERA_OFFLINE, "camera.stream_not_found")
    if isinstance(error, ConnectionRefusedError):
        # The answer came from the device itself, or from the last router before it: the way there is free.
        return SourceError(GapCause.CAMERA_OFFLINE, "camera.refused")
    if isinstance(error, TimeoutError):
        return SourceError(GapCause.NETWORK, "camera.timeout")
    if number in _UNREACHABLE:
        return SourceError(GapCause.NETWORK, "camera.unreachable")
    if isinstance(error, EOFError) or number in _ENDED:
        return SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
    if isinstance(error, av.error.InvalidDataError | av.error.DemuxerNotFoundError | av.error.ProtocolNotFoundError):
        if opening:
            return SourceError(GapCause.UNSUPPORTED, "camera.not_video")
        return SourceError(GapCause.CAMERA_OFFLINE, "camera.ended")
    problem = redact_text(getattr(error, "strerror", None) or type(error).__name__)[:_PROBLEM_MAX]
    return SourceError(GapCause.CAMERA_OFFLINE, "camera.failed", problem=problem)
