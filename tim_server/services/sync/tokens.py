"""The sync token `s<position>`: everything up to this position of the clock has been answered.

`s<position>_d<position>.<number>` says besides that of the messages to the device only those up to this place have
been, since there were too many for one answer.

Spec: https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import re
from dataclasses import dataclass

from tim_server.matrix.errors import InvalidParam
from tim_server.storage.to_device import MessagePlace

_TOKEN = re.compile(r"s([0-9]{1,18})(?:_d([0-9]{1,18})\.([0-9]{1,18}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncToken:
    """What has been answered. `to_device` is set where messages to the device were left for later."""

    position: int
    to_device: MessagePlace | None = None

    def __str__(self) -> str:
        """The token as clients get it."""
        place = self.to_device
        return f"s{self.position}" if place is None else f"s{self.position}_d{place.position}.{place.number}"


def parse_sync_token(token: str) -> SyncToken:
    """What a token says; raises `InvalidParam` for what is no sync token of this server."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("since: not a token of this server")
    to_device = None if match[2] is None else MessagePlace(int(match[2]), int(match[3]))
    return SyncToken(position=int(match[1]), to_device=to_device)
