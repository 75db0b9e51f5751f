"""What answers are made from: the caches and readers that the steps of an answer share."""

from dataclasses import dataclass

from tim_server.services.events.client_events import ClientEvents
from tim_server.services.sync.event_rows import EventRows
from tim_server.services.sync.parts import AnswerParts
from tim_server.services.sync.sent_members import SentMembers
from tim_server.storage.codec import Codec
from tim_server.storage.state import SnapshotCache


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Shared by all answers of one homeserver."""

    codec: Codec
    snapshots: SnapshotCache
    client_events: ClientEvents
    rows: EventRows
    sent_members: SentMembers
    parts: AnswerParts
