"""The sync token `s<position>`: everything up to this position of the clock has been answered.

Spec: https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import re

from tim_server.matrix.errors import InvalidParam

_TOKEN = re.compile(r"s([0-9]{1,18})")


def sync_token(position: int) -> str:
    """The token of a position."""
    return f"s{position}"


def parse_sync_token(token: str) -> int:
    """The position of a token; raises `InvalidParam` for what is no sync token of this server."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("since: not a token of this server")
    return int(match[1])
