"""Cross-signing keys of users, and what user-signing keys have signed. Not derived from the event log.

A key is kept as JSON with the signatures that everybody may see. The signatures of user-signing keys stand apart, since
only who made them may see them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="cross_signing_keys",
        owner="services.keys",
        bound="three rows a user, of up to 16 KiB beside a signature of each of their devices",
        reaper="deactivation of the account; of users of other servers storage.remote_device_lists",
    ),
    TableContract(
        name="user_signatures",
        owner="services.keys",
        bound="one row for each pair of users of whom one has verified the other",
        reaper="a new user-signing key of the signer, a new master key of the signed, deactivation of the account",
    ),
)


class StoredCrossSigningKey(NamedTuple):
    """A key: `public_key` in unpadded Base64, `key` the object as JSON. A tuple, because one query makes thousands."""

    user_id: UserId
    usage: str
    public_key: str
    key: bytes


LOAD_CROSS_SIGNING_KEYS = """
SELECT user_id, usage, public_key, key FROM cross_signing_keys
WHERE user_id = ANY($1) AND (usage <> 'user_signing' OR user_id = $2)
"""


async def load_cross_signing_keys(
    tx: Connection, codec: Codec, user_ids: Sequence[UserId], reader: UserId
) -> list[StoredCrossSigningKey]:
    """The keys of these users that the reader may see: of others not the user-signing key."""
    return [_key(row, codec) for row in await tx.fetch(LOAD_CROSS_SIGNING_KEYS, user_ids, reader)]


async def load_own_cross_signing_keys(
    tx: Connection, codec: Codec, user_id: UserId
) -> dict[str, StoredCrossSigningKey]:
    """A user's keys by usage."""
    return {key.usage: key for key in await load_cross_signing_keys(tx, codec, [user_id], user_id)}


def _key(row: asyncpg.Record, codec: Codec) -> StoredCrossSigningKey:
    user_id, usage, public_key, key = row
    return StoredCrossSigningKey(UserId(user_id), usage, public_key, codec.decode(key))


PUT_CROSS_SIGNING_KEY = """
INSERT INTO cross_signing_keys (user_id, usage, public_key, key) VALUES ($1, $2, $3, $4)
ON CONFLICT (user_id, usage) DO UPDATE SET public_key = $3, key = $4
"""


async def put_cross_signing_key(tx: Connection, codec: Codec, key: StoredCrossSigningKey) -> None:
    """Set a user's key of one usage."""
    await tx.execute(PUT_CROSS_SIGNING_KEY, key.user_id, key.usage, key.public_key, codec.encode(key.key))


DELETE_CROSS_SIGNING_KEYS = "DELETE FROM cross_signing_keys WHERE user_id = $1 AND usage = ANY($2::text[])"


async def delete_cross_signing_keys(tx: Connection, user_id: UserId, usages: Sequence[str]) -> None:
    """Remove a user's keys of these usages."""
    await tx.execute(DELETE_CROSS_SIGNING_KEYS, user_id, usages)


DELETE_ALL_CROSS_SIGNING = """
WITH signatures AS (DELETE FROM user_signatures WHERE signer = $1 OR target = $1)
DELETE FROM cross_signing_keys WHERE user_id = $1
"""


async def delete_all_cross_signing(tx: Connection, user_id: UserId) -> None:
    """Remove all keys of a user, and what they have signed or was signed of them."""
    await tx.execute(DELETE_ALL_CROSS_SIGNING, user_id)


HAS_PUBLIC_KEY = "SELECT EXISTS (SELECT FROM cross_signing_keys WHERE user_id = $1 AND public_key = ANY($2::text[]))"


async def has_public_key(tx: Connection, user_id: UserId, names: Sequence[str]) -> bool:
    """Whether one of these is the public part of a cross-signing key of the user."""
    found: bool = await tx.fetchval(HAS_PUBLIC_KEY, user_id, names)
    return found


LOAD_USER_SIGNATURES = "SELECT target, signature FROM user_signatures WHERE signer = $1 AND target = ANY($2)"


async def load_user_signatures(
    tx: Connection, codec: Codec, signer: UserId, targets: Sequence[UserId]
) -> dict[UserId, bytes]:
    """The signer's signatures of the master keys of these users: JSON objects from key id to signature."""
    rows = await tx.fetch(LOAD_USER_SIGNATURES, signer, targets)
    return {UserId(row["target"]): codec.decode(row["signature"]) for row in rows}


PUT_USER_SIGNATURES = """
INSERT INTO user_signatures (signer, target, position, signature)
SELECT $1, target, $2, signature FROM unnest($3::text[], $4::bytea[]) AS new (target, signature)
ON CONFLICT (signer, target) DO UPDATE SET position = $2, signature = excluded.signature
"""


async def put_user_signatures(
    tx: Connection, codec: Codec, signer: UserId, signatures: Mapping[UserId, bytes], *, position: int
) -> None:
    """Set the signer's signatures, JSON objects by user."""
    if signatures:
        sealed = [codec.encode(signature) for signature in signatures.values()]
        await tx.execute(PUT_USER_SIGNATURES, signer, position, list(signatures), sealed)


DELETE_SIGNATURES_BY = "DELETE FROM user_signatures WHERE signer = $1"


async def delete_signatures_by(tx: Connection, signer: UserId) -> None:
    """Remove what the user has signed: their user-signing key is gone."""
    await tx.execute(DELETE_SIGNATURES_BY, signer)


DELETE_SIGNATURES_OF = "DELETE FROM user_signatures WHERE target = $1"


async def delete_signatures_of(tx: Connection, target: UserId) -> None:
    """Remove what others have signed of the user: their master key is gone."""
    await tx.execute(DELETE_SIGNATURES_OF, target)
