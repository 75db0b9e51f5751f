"""Keys that seal the keys of files, each sealed by the master key. Not derived from the event log.

The newest seals; all of them open, so that a new one needs nothing to be written anew.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="media_keys",
        owner="app.media_keys",
        bound="how often the key is replaced",
        reaper="none: files need the key that they were sealed under",
    ),
)


class StoredKey(NamedTuple):
    """A key, as the master key has sealed it."""

    number: int
    sealed_key: bytes


LOAD_MEDIA_KEYS = "SELECT number, sealed_key FROM media_keys ORDER BY number DESC"


async def load_media_keys(tx: Connection) -> list[StoredKey]:
    """All keys, the newest first."""
    return [StoredKey(row["number"], row["sealed_key"]) for row in await tx.fetch(LOAD_MEDIA_KEYS)]


ADD_MEDIA_KEY = """
INSERT INTO media_keys (number, sealed_key, created_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""


async def add_media_key(tx: Connection, key: StoredKey, *, created_ts: int) -> None:
    """Add a key; where another process has added one of the same number, that one counts."""
    await tx.execute(ADD_MEDIA_KEY, key.number, key.sealed_key, created_ts)


RESEAL_MEDIA_KEYS = """
UPDATE media_keys AS k SET sealed_key = new.sealed_key
FROM unnest($1::integer[], $2::bytea[]) AS new (number, sealed_key) WHERE k.number = new.number
"""


async def reseal_media_keys(tx: Connection, keys: Sequence[StoredKey]) -> None:
    """Replace what these keys are stored as, after a change of the master key."""
    await tx.execute(RESEAL_MEDIA_KEYS, [key.number for key in keys], [key.sealed_key for key in keys])
