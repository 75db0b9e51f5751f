"""Messages to the device in an answer, and their end: those that the client has are removed when it comes back.

A message is given until the client shows a token that covers it. An answer holds a bounded number; the next token then
says how far it got.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from tim_server.matrix.identifiers import UserId
from tim_server.services.sync.answer import events_json
from tim_server.services.sync.parts import NOTHING, Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.window import Window
from tim_server.services.to_device.queue import TO_DEVICE
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitLog
from tim_server.storage.database import Connection, Database
from tim_server.storage.to_device import MessagePlace, delete_messages_up_to, has_messages_up_to, load_messages
from tim_server.storage.writer import Writer

MESSAGES_PER_ANSWER_MAX = 100
DEVICES_REMEMBERED_MAX = 50_000

_NUMBER_MAX = 2**63 - 1
_NOWHERE = MessagePlace(0, 0)
_Owner: TypeAlias = tuple[UserId, str]


class _Given(NamedTuple):
    """The oldest and the newest message that was given and is still stored, as far as is known."""

    oldest: MessagePlace
    newest: MessagePlace


_NONE = _Given(_NOWHERE, _NOWHERE)


@dataclass(slots=True, kw_only=True)
class ToDevicePart:
    """Part of an answer. Remembers which devices were given messages that are still stored; a device of which it knows
    nothing is looked at when it first comes."""

    database: Database
    writer: Writer
    codec: Codec
    commit_log: CommitLog
    _given: "OrderedDict[_Owner, _Given]" = field(default_factory=OrderedDict)

    async def from_tail(self, reading: Reading, window: Window) -> Told | None:
        """Nothing, unless the tail tells of messages, or some were left over."""
        if _owner(reading) is None or (TO_DEVICE not in window.streams and reading.to_device_since is None):
            return NOTHING
        return None

    async def from_database(self, tx: Connection, reading: Reading, up_to: int) -> Told:
        """The messages that the client does not have yet, as many as one answer holds."""
        owner = _owner(reading)
        if owner is None:
            return NOTHING
        limit = MESSAGES_PER_ANSWER_MAX + 1
        found = await load_messages(tx, self.codec, owner, after=_start(reading), up_to=up_to, limit=limit)
        if not found:
            return NOTHING
        given = found[:MESSAGES_PER_ANSWER_MAX]
        before = self._given.get(owner, _NONE)
        oldest = given[0].place if before == _NONE else min(before.oldest, given[0].place)
        self._remember(owner, _Given(oldest, max(before.newest, given[-1].place)))
        return Told(
            members=(b'"to_device":' + events_json(message.message for message in given),),
            is_news=True,
            to_device_up_to=given[-1].place if len(found) > len(given) else None,
        )

    async def acknowledge(self, reading: Reading) -> None:
        """Remove the messages that the token covers: the client has them."""
        owner, covered = _owner(reading), _start(reading)
        if owner is None or reading.since is None or reading.since > self.commit_log.position:
            return
        given = self._given.get(owner)
        if given is None:
            async with self.database.connection() as connection:
                is_due = await has_messages_up_to(connection, owner, covered)
        else:
            is_due = _NOWHERE < given.oldest <= covered
        if is_due:
            await self.writer.write(_Remove(owner=owner, covered=covered))
        if self._given.get(owner) is given and (is_due or given is None):
            newest = _NOWHERE if given is None or given.newest <= covered else given.newest
            self._remember(owner, _Given(newest, newest))

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._given.clear()

    def _remember(self, owner: _Owner, given: "_Given") -> None:
        self._given[owner] = given
        self._given.move_to_end(owner)
        if len(self._given) > DEVICES_REMEMBERED_MAX:
            self._given.popitem(last=False)


def _owner(reading: Reading) -> _Owner | None:
    """The device, if it wants messages."""
    if reading.device_id is None or not reading.wants_to_device:
        return None
    return reading.user_id, reading.device_id


def _start(reading: Reading) -> MessagePlace:
    """The place up to which the client has all messages."""
    if reading.to_device_since is not None:
        return reading.to_device_since
    return _NOWHERE if reading.since is None else MessagePlace(reading.since, _NUMBER_MAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remove:
    """Concerns nobody: whoever syncs has these messages."""

    owner: _Owner
    covered: MessagePlace
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await delete_messages_up_to(tx, self.owner, self.covered)
