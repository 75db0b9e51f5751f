"""Tokens of places in a room's timeline, as `/messages`, `/context`, `/members` and `prev_batch` of `/sync` use them.

`t<position>_<minor>` stands for the gap right after the event at that place, whether there is one or not; the sync
token `s<position>` for the gap after everything that the sync covered.

Spec: https://spec.matrix.org/v1.19/client-server-api/#pagination
"""

import re

from tim_server.matrix.errors import InvalidParam
from tim_server.storage.events import EventRow
from tim_server.storage.timeline import Place

START: Place = (0, 0)
"""The gap before the first event of every room."""

_TIMELINE_TOKEN = re.compile(r"t([0-9]{1,18})_(-?[0-9]{1,9})")
_SYNC_TOKEN = re.compile(r"s([0-9]{1,18})(?:_.*)?")


def token_of(place: Place) -> str:
    """The token of the gap after `place`."""
    return f"t{place[0]}_{place[1]}"


def place_of(token: str) -> Place:
    """The place after which the token's gap is; raises `InvalidParam` for what is no token of this server."""
    if match := _TIMELINE_TOKEN.fullmatch(token):
        return int(match[1]), int(match[2])
    if match := _SYNC_TOKEN.fullmatch(token):
        return int(match[1]), 0
    raise InvalidParam("Not a token of this server")


def position_of(token: str) -> int:
    """The position up to which everything is before the token's gap; raises `InvalidParam` as `place_of` does."""
    position, minor = place_of(token)
    return position if minor >= 0 else max(position - 1, 0)


def place_after(row: EventRow) -> Place:
    """The gap right after the event."""
    assert row.position is not None
    return row.position, row.minor


def place_before(row: EventRow) -> Place:
    """The gap right before the event; history that is fetched later goes further back than this."""
    assert row.position is not None
    return row.position, row.minor - 1
