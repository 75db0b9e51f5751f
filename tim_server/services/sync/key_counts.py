"""How many one-time keys the device has left, and which fallback keys were not used: in every answer.

Spec: https://spec.matrix.org/v1.19/client-server-api/#e2e-extensions-to-sync
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from tim_server.matrix.end_to_end.one_time_keys import SIGNED_CURVE25519
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.keys.upload import ONE_TIME_KEYS
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.parts import Told
from tim_server.services.sync.request import Reading
from tim_server.services.sync.window import Window
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.one_time_keys import NO_KEYS, KeyCounts, load_key_counts


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyCountsPart:
    """Part of an answer. `look_ups` knows the counts of all devices of a user until one of them changes."""

    look_ups: SharedLookUps[UserId, Mapping[str, KeyCounts]]

    async def from_tail(self, reading: Reading, window: Window) -> Told | None:
        """The counts as they are now."""
        counts = (await self.look_ups.load([reading.user_id]))[reading.user_id]
        return _told(reading, counts.get(reading.device_id or "", NO_KEYS))

    async def from_database(self, tx: Connection, reading: Reading, up_to: int) -> Told:
        """The counts as the transaction sees them."""
        if reading.device_id is None:
            return _told(reading, NO_KEYS)
        return _told(reading, await load_key_counts(tx, reading.user_id, reading.device_id))

    def follow(self, entry: CommitEntry) -> None:
        """Keys of these users were uploaded or claimed, or devices removed with their keys."""
        changes = {ONE_TIME_KEYS, DEVICES}
        self.look_ups.drop(user_id for user_id, streams in entry.users.items() if not changes.isdisjoint(streams))


def _told(reading: Reading, counts: KeyCounts) -> Told:
    """A client that waits is told at once what has become of its keys. Old clients need to be told that none is
    left."""
    left = {SIGNED_CURVE25519: 0, **counts.one_time_keys}
    return Told(
        members=(
            b'"device_one_time_keys_count":' + orjson.dumps(left),
            b'"device_unused_fallback_key_types":' + orjson.dumps(counts.unused_fallback_keys),
        ),
        is_news=reading.since is not None and counts.changed_at > reading.since,
    )
