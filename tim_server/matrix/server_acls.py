"""Server access control lists: which servers may take part in a room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-access-control-lists-acls-for-rooms
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tim_server.matrix.globs import PATTERN_LENGTH_MAX, Glob, whole_value_glob
from tim_server.matrix.identifiers import ServerName

SERVER_ACL = ("m.room.server_acl", "")


def is_allowed_by_acl(content: Mapping[str, Any] | None, server_name: ServerName) -> bool:
    """Whether the content of a room's `m.room.server_acl` lets the server in; None: the room has none.

    "If there is no m.room.server_acl event in the room state, allow." Then IP literals, `deny`, `allow`, in this order;
    what no rule allows is denied. The port counts for nothing.
    """
    if content is None:
        return True
    host = server_name.host
    if content.get("allow_ip_literals") is False and server_name.is_ip_literal:
        return False
    if any(glob.matches(host) for glob in _globs(content.get("deny"))):
        return False
    return any(glob.matches(host) for glob in _globs(content.get("allow")))


def _globs(patterns: Any) -> list[Glob]:
    """Compiled patterns; what is no text of a sensible length matches nothing."""
    if not isinstance(patterns, list):
        return []
    return [_glob(p) for p in patterns if isinstance(p, str) and len(p) <= PATTERN_LENGTH_MAX]


@lru_cache(maxsize=10_000)
def _glob(pattern: str) -> Glob:
    return whole_value_glob(pattern)
