"""Keys of users of other servers, remembered: the keys stand in `device_keys` and `cross_signing_keys`, and a row here
says from when they are.

They hold as long as the other server would have told of a change: while a user of this server shares a room with the
user, without a break since they were asked for, and no change was told (`device_list_changes`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.cross_signing_keys import StoredCrossSigningKey
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="remote_device_lists",
        owner="services.keys",
        bound="one row a user of another server who is in a room here; of their keys as many as of a local user",
        reaper="storage.remote_device_lists.reap: users who are in no room here",
    ),
)

MASTER = "master"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteKeys:
    """The keys of a user of another server: device keys as JSON by device id, cross-signing keys."""

    user_id: UserId
    devices: Mapping[str, bytes] = field(default_factory=dict)
    cross_signing: Sequence[StoredCrossSigningKey] = ()


# Whether somebody was joined at a position and has been since: the newest entry of the history until then says so, and
# none after it says otherwise.
FIND_FRESH = """
SELECT wanted.user_id, coalesce(d.position, 0) AS changed, c.position >= coalesce(d.position, 0) AND EXISTS (
    SELECT FROM memberships AS m
    WHERE m.user_id = c.user_id AND m.membership = 'join'
      AND (SELECT h.membership FROM membership_history AS h
           WHERE h.user_id = m.user_id AND h.room_nid = m.room_nid AND h.position <= c.position
           ORDER BY h.position DESC LIMIT 1) = 'join'
      AND NOT EXISTS (SELECT FROM membership_history AS h
           WHERE h.user_id = m.user_id AND h.room_nid = m.room_nid AND h.position > c.position
             AND h.membership <> 'join')
      AND EXISTS (
          SELECT FROM memberships AS own
          WHERE own.server_name = $2 AND own.room_nid = m.room_nid AND own.membership = 'join'
            AND (SELECT h.membership FROM membership_history AS h
                 WHERE h.user_id = own.user_id AND h.room_nid = own.room_nid AND h.position <= c.position
                 ORDER BY h.position DESC LIMIT 1) = 'join'
            AND NOT EXISTS (SELECT FROM membership_history AS h
                 WHERE h.user_id = own.user_id AND h.room_nid = own.room_nid AND h.position > c.position
                   AND h.membership <> 'join')
      )
) AS is_fresh
FROM unnest($1::text[]) AS wanted (user_id)
LEFT JOIN remote_device_lists AS c USING (user_id)
LEFT JOIN device_list_changes AS d USING (user_id)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """Whether the keys that are stored of a user are those of now, and where the newest change was told."""

    is_fresh: bool
    changed: int


async def find_fresh(tx: Connection, server_name: ServerName, user_ids: Collection[UserId]) -> dict[UserId, Freshness]:
    """Of each user of another server, whether their keys are known here. `server_name` is our own."""
    rows = await tx.fetch(FIND_FRESH, list(user_ids), server_name)
    return {UserId(r["user_id"]): Freshness(is_fresh=bool(r["is_fresh"]), changed=r["changed"]) for r in rows}


FIND_NEWER = "SELECT user_id FROM remote_device_lists WHERE user_id = ANY($1) AND position > $2"
DELETE_REMOTE_KEYS = """
WITH devices AS (DELETE FROM device_keys WHERE user_id = ANY($1)),
     keys AS (DELETE FROM cross_signing_keys WHERE user_id = ANY($1))
DELETE FROM remote_device_lists WHERE user_id = ANY($1)
"""
FIND_OTHER_MASTERS = """
SELECT k.user_id FROM cross_signing_keys AS k JOIN unnest($1::text[], $2::text[]) AS new (user_id, public_key)
USING (user_id)
WHERE k.usage = 'master' AND k.public_key IS DISTINCT FROM new.public_key
"""
DELETE_SIGNATURES = "DELETE FROM user_signatures WHERE target = ANY($1)"
INSERT_LISTS = "INSERT INTO remote_device_lists (user_id, position) SELECT unnest($1::text[]), $2"
INSERT_DEVICES = """
INSERT INTO device_keys (user_id, device_id, keys) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
"""
INSERT_KEYS = """
INSERT INTO cross_signing_keys (user_id, usage, public_key, key)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[])
"""


async def replace_remote_keys(
    tx: Connection, codec: Codec, asked: Collection[UserId], found: Sequence[RemoteKeys], *, position: int
) -> None:
    """Store what another server has told of the users that it was `asked` for at a position; of whom it told nothing,
    nothing remains. What was asked for later stays."""
    newer = {row["user_id"] for row in await tx.fetch(FIND_NEWER, list(asked), position)}
    found = [keys for keys in found if keys.user_id not in newer]
    masters = {
        keys.user_id: next((key.public_key for key in keys.cross_signing if key.usage == MASTER), None)
        for keys in found
    }
    changed = await tx.fetch(FIND_OTHER_MASTERS, list(masters), list(masters.values()))
    await tx.execute(DELETE_REMOTE_KEYS, [user_id for user_id in asked if user_id not in newer])
    await tx.execute(DELETE_SIGNATURES, [row["user_id"] for row in changed])
    await tx.execute(INSERT_LISTS, list(masters), position)
    devices = [(keys.user_id, device_id, value) for keys in found for device_id, value in keys.devices.items()]
    await tx.execute(
        INSERT_DEVICES,
        [user_id for user_id, _, _ in devices],
        [device_id for _, device_id, _ in devices],
        [codec.encode(value) for _, _, value in devices],
    )
    signing = [key for keys in found for key in keys.cross_signing]
    await tx.execute(
        INSERT_KEYS,
        [key.user_id for key in signing],
        [key.usage for key in signing],
        [key.public_key for key in signing],
        [codec.encode(key.key) for key in signing],
    )


REAP_REMOTE_KEYS = """
WITH gone AS (
    DELETE FROM remote_device_lists AS c
    WHERE NOT EXISTS (SELECT FROM memberships AS m WHERE m.user_id = c.user_id AND m.membership = 'join')
    RETURNING c.user_id
), devices AS (DELETE FROM device_keys WHERE user_id IN (SELECT user_id FROM gone))
DELETE FROM cross_signing_keys WHERE user_id IN (SELECT user_id FROM gone)
"""


async def reap(tx: Connection) -> None:
    """Remove the keys of users of other servers who are in no room here."""
    await tx.execute(REAP_REMOTE_KEYS)
