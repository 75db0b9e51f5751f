"""The bytes of an answer, put together from parts that are JSON already: nothing is parsed, nothing encoded twice.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from tim_server.services.events.tokens import token_of
from tim_server.services.sync.tokens import SyncToken
from tim_server.storage.timeline import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer up to what `token` says: JSON members of the answer itself, and of each section of rooms. `has_news`:
    there is something to tell, so that the client need not be kept waiting."""

    token: SyncToken
    members: Sequence[bytes] = ()
    rooms: Mapping[str, Sequence[bytes]] = field(default_factory=dict)
    has_news: bool = False

    def as_json(self) -> bytes:
        """The response body."""
        parts = [b'"next_batch":"%b"' % str(self.token).encode(), *self.members]
        sections = [
            b'"%b":{%b}' % (name.encode(), b",".join(members)) for name, members in self.rooms.items() if members
        ]
        if sections:
            parts.append(b'"rooms":{%b}' % b",".join(sections))
        return b"{%b}" % b",".join(parts)


def events_json(events: Iterable[bytes]) -> bytes:
    """A list of events in the object that most parts of an answer have: `{"events": […]}`."""
    return b'{"events":[%b]}' % b",".join(events)


def timeline_json(events: Iterable[bytes], *, limited: bool, prev: Place | None) -> bytes:
    """A timeline."""
    token = b"" if prev is None else b',"prev_batch":"%b"' % token_of(prev).encode()
    return b'{"events":[%b],"limited":%b%b}' % (b",".join(events), b"true" if limited else b"false", token)


def room_json(room_id: str, parts: Iterable[bytes]) -> bytes:
    """A room's member of its section; each part is a member of the room's object."""
    return b"%b:{%b}" % (orjson.dumps(room_id), b",".join(parts))
