"""What another server answers instead of what it was asked for. That it can't be reached, or must not be asked, are
errors of `egress`."""

import re
from typing import Any

MESSAGE_LENGTH_MAX = 500
RETRY_AFTER_MS_MAX = 3_600_000
_ERRCODE = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""It goes into logs: no place for sentences."""


class RemoteError(Exception):
    """An answer of another server that is an error, or that is not what was asked for (`status` 200).

    `message` is the other server's word: for logs shortened, for clients to be quoted with care. `retry_after_ms` is
    how long it wants not to be asked, where it says so (429, 503); `room_version` that of a room that it names.
    """

    def __init__(
        self,
        server_name: str,
        status: int,
        errcode: str,
        message: str,
        *,
        retry_after_ms: int | None = None,
        room_version: str | None = None,
    ) -> None:
        super().__init__(f"{server_name} answered with {status} {errcode}")
        self.server_name, self.status, self.errcode = server_name, status, errcode
        self.message = message[:MESSAGE_LENGTH_MAX]
        self.retry_after_ms, self.room_version = retry_after_ms, room_version

    @property
    def is_unrecognized(self) -> bool:
        """Whether the server does not know the operation: an older version of it may help."""
        return (self.status in (404, 405) and self.errcode in ("M_UNRECOGNIZED", "M_UNKNOWN")) or (
            self.status == 400 and self.errcode == "M_UNRECOGNIZED"
        )

    @classmethod
    def of(cls, server_name: str, status: int, body: Any, retry_after: str | None = None) -> "RemoteError":
        """The error of an answer with another status than 200; `body` is its JSON, or None, `retry_after` the header of
        that name (seconds; dates are not understood)."""
        fields = body if isinstance(body, dict) else {}
        errcode, message, room_version = fields.get("errcode"), fields.get("error"), fields.get("room_version")
        return cls(
            server_name,
            status,
            errcode if isinstance(errcode, str) and _ERRCODE.fullmatch(errcode) else "M_UNKNOWN",
            message if isinstance(message, str) else "",
            retry_after_ms=retry_after_ms_of(fields.get("retry_after_ms"), retry_after),
            room_version=room_version if isinstance(room_version, str) else None,
        )

    @classmethod
    def malformed(cls, server_name: str, message: str) -> "RemoteError":
        """An answer that is not what the specification says."""
        return cls(server_name, 200, "M_BAD_JSON", message)


def retry_after_ms_of(told: Any, header: str | None) -> int | None:
    """How long a server wants not to be asked, by the member of that name and the header `Retry-After`, which counts
    more; None where neither says."""
    if header is not None and header.strip().isdecimal():
        return min(int(header.strip()[:9]) * 1000, RETRY_AFTER_MS_MAX)
    if isinstance(told, int) and told >= 0:
        return min(told, RETRY_AFTER_MS_MAX)
    return None
