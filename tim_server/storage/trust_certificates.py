"""Certificates with which servers have proved to be who they are, and the keys that they published over connections
verified by these certificates. Not derived.

Server names are in lower case. Certificates are public; of the keys only public halves are here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="trust_certificates",
        owner="services.trust",
        bound="CERTIFICATES_PER_SERVER_MAX rows a server that a directory listed",
        reaper="save_certificates, the oldest of the server first; reap_certificates, once they have expired",
    ),
)

CERTIFICATES_PER_SERVER_MAX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedKeys:
    """Verify keys (unpadded Base64) by key id, and until when (milliseconds) they may be relied on."""

    keys: dict[str, str]
    until_ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificate:
    """A certificate (its chain in DER, the certificate first) that was verified for a server; times in milliseconds.
    `published` None: no keys were fetched over a connection with it yet."""

    server_name: str
    sha256: str
    organisation_id: str
    chain: tuple[bytes, ...]
    serial: str
    not_after_ts: int
    holds_until_ts: int
    verified_ts: int
    published: PublishedKeys | None = None


SAVE_CERTIFICATES = """
INSERT INTO trust_certificates AS known
       (server_name, sha256, organisation_id, chain, serial, not_after_ts, holds_until_ts, verified_ts, keys,
        keys_until_ts)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (server_name, sha256) DO UPDATE
   SET organisation_id = excluded.organisation_id, holds_until_ts = excluded.holds_until_ts,
       verified_ts = excluded.verified_ts, keys = coalesce(excluded.keys, known.keys),
       keys_until_ts = coalesce(excluded.keys_until_ts, known.keys_until_ts)
"""
TRIM_CERTIFICATES = """
DELETE FROM trust_certificates AS old USING unnest($1::text[]) AS names(server_name)
WHERE old.server_name = names.server_name AND old.sha256 NOT IN (
    SELECT sha256 FROM trust_certificates WHERE server_name = names.server_name ORDER BY verified_ts DESC LIMIT $2
)
"""


async def save_certificates(tx: Connection, codec: Codec, certificates: Sequence[StoredCertificate]) -> None:
    """Keep the certificates, each with the keys that are known of it now or were before."""
    ordered = sorted(certificates, key=lambda each: (each.server_name, each.sha256))
    await tx.executemany(SAVE_CERTIFICATES, [_parameters(codec, each) for each in ordered])
    names = sorted({each.server_name for each in ordered})
    await tx.execute(TRIM_CERTIFICATES, names, CERTIFICATES_PER_SERVER_MAX)


def _parameters(codec: Codec, stored: StoredCertificate) -> tuple[Any, ...]:
    published = stored.published
    return (
        stored.server_name,
        stored.sha256,
        stored.organisation_id,
        [codec.encode(each) for each in stored.chain],
        stored.serial,
        stored.not_after_ts,
        stored.holds_until_ts,
        stored.verified_ts,
        None if published is None else codec.encode(orjson.dumps(published.keys)),
        None if published is None else published.until_ts,
    )


LOAD_CERTIFICATES = """
SELECT server_name, sha256, organisation_id, chain, serial, not_after_ts, holds_until_ts, verified_ts, keys,
       keys_until_ts
FROM trust_certificates WHERE server_name = ANY($1::text[]) ORDER BY server_name, verified_ts DESC
"""


async def load_certificates(
    tx: Connection, codec: Codec, server_names: Collection[str]
) -> dict[str, list[StoredCertificate]]:
    """The certificates of these servers (in lower case), those verified last first."""
    found: dict[str, list[StoredCertificate]] = {}
    for row in await tx.fetch(LOAD_CERTIFICATES, list(server_names)):
        found.setdefault(row["server_name"], []).append(_certificate(row, codec))
    return found


def _certificate(row: Any, codec: Codec) -> StoredCertificate:
    published = None
    if row["keys"] is not None:
        published = PublishedKeys(keys=orjson.loads(codec.decode(row["keys"])), until_ts=row["keys_until_ts"])
    return StoredCertificate(
        server_name=row["server_name"],
        sha256=row["sha256"],
        organisation_id=row["organisation_id"],
        chain=tuple(codec.decode(each) for each in row["chain"]),
        serial=row["serial"],
        not_after_ts=row["not_after_ts"],
        holds_until_ts=row["holds_until_ts"],
        verified_ts=row["verified_ts"],
        published=published,
    )


REAP_CERTIFICATES = "DELETE FROM trust_certificates WHERE not_after_ts < $1"


async def reap_certificates(tx: Connection, now_ms: int) -> None:
    """Remove certificates that have expired."""
    await tx.execute(REAP_CERTIFICATES, now_ms)
