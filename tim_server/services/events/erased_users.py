"""Users who were erased: whoever joins a room after that is served redacted copies of their messages.

State events are served as they are: the redacted form of a room's encryption would have clients send in the clear.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
"""

from dataclasses import dataclass, field

import msgspec

from tim_server.matrix.identifiers import UserId
from tim_server.services.events.membership_history import MembershipHistory
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow
from tim_server.storage.users import ERASED, load_erased_users

WITHHELD = 0
"""What a row is redacted by that is served redacted without a redaction: no event has this nid."""


@dataclass(slots=True)
class ErasedUsers:
    """Remembers all of them with the clock when they were erased; they are few."""

    positions: dict[UserId, int] = field(default_factory=dict)
    _is_loaded: bool = False

    async def load(self, tx: Connection) -> None:
        """Read them, the first time."""
        if not self._is_loaded:
            self.positions |= await load_erased_users(tx)
            self._is_loaded = True

    def follow(self, entry: CommitEntry) -> None:
        """Note the users whom a commit erased."""
        for user_id, streams in entry.users.items():
            if ERASED in streams:
                self.positions[user_id] = entry.position

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self.positions.clear()
        self._is_loaded = False

    def served(self, row: EventRow, history: MembershipHistory) -> EventRow:
        """The row as it is served to one who has this history in its room."""
        position = self.positions.get(row.sender)
        if position is None or row.state_key is not None or row.redacted_by is not None:
            return row
        if any(change.membership == "join" and change.position < position for change in history.changes):
            return row
        return msgspec.structs.replace(row, redacted_by=WITHHELD)
