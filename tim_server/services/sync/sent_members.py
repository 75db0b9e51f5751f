"""Which members' events a device has been sent already, where it loads members lazily: those are redundant.

A member counts as sent once the device comes back with the token of the answer that held them, so that an answer that
was lost is repeated in full. A change of membership reaches the device by the timeline or the state in any case.

Spec: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tim_server.matrix.identifiers import UserId

DeviceRoom: TypeAlias = tuple[UserId, str | None, int]
"""User, device, room nid."""


@dataclass(slots=True, kw_only=True)
class SentMembers:
    """Remembered by device and room, least recently used dropped first; `members_max` bounds them over all."""

    members_max: int = 200_000
    _sent: OrderedDict[DeviceRoom, dict[str, int]] = field(default_factory=OrderedDict)
    _count: int = 0

    def unsent(self, key: DeviceRoom, members: Iterable[str], since: int) -> set[str]:
        """Those of the members that the device can't know by an answer up to `since`."""
        sent = self._sent.get(key)
        if sent is None:
            return set(members)
        return {member for member in members if sent.get(member, since + 1) > since}

    def add(self, key: DeviceRoom, members: Iterable[str], position: int) -> None:
        """Remember that the answer up to `position` holds these members. What was sent before keeps its position."""
        sent = self._sent.setdefault(key, {})
        self._sent.move_to_end(key)
        before = len(sent)
        for member in members:
            sent.setdefault(member, position)
        self._count += len(sent) - before
        while self._count > self.members_max and len(self._sent) > 1:
            _, dropped = self._sent.popitem(last=False)
            self._count -= len(dropped)

    def restart(self, key: DeviceRoom) -> None:
        """Forget what the device was sent of the room: it begins anew."""
        dropped = self._sent.pop(key, None)
        if dropped is not None:
            self._count -= len(dropped)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._sent.clear()
        self._count = 0
