"""What other servers say of who types: `m.typing`.

Spec: https://spec.matrix.org/v1.19/server-server-api/#typing-notifications
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.admit_members import Admission, RoomAndUser, room_and_user
from tim_server.services.typing.set_typing import Typing
from tim_server.storage.typing import TypingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TypingReceiver:
    """Has users of other servers type."""

    typing: Typing
    admission: Admission

    async def receive(self, origin: ServerName, contents: Sequence[Mapping[str, Any]]) -> None:
        """Take in these EDUs; of several about a user in a room the last one counts."""
        said: dict[RoomAndUser, bool] = {}
        for content in contents:
            pair = room_and_user(content.get("room_id"), content.get("user_id"))
            types = content.get("typing")
            if pair is not None and isinstance(types, bool):
                said[pair] = types
        rooms = await self.admission.rooms_of(origin, said.keys())
        told = {TypingKey(room_nid=nid, user_id=pair[1]): said[pair] for pair, nid in rooms.items()}
        if told:
            await self.typing.hear(told)
