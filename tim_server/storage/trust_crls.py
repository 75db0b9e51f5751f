"""Revocation lists as they were fetched, by the address that certificates name, shared by all processes. Not derived.

A list is replaced by one that is not older only: whoever can replay an old one must not bring a revoked certificate
back.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="trust_crls",
        owner="services.trust",
        bound="one row an address that certificates of the circle name, on configured hosts",
        reaper="reap_crls, when nobody has asked for a list for a month",
    ),
)

UNUSED_MS = 30 * 24 * 60 * 60 * 1000
PROBLEM_LENGTH_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlDocument:
    """A list as it came, the SHA-256 of its bytes, and when it says to be made (milliseconds)."""

    document: bytes
    document_sha256: str
    last_update_ts: int


LOAD_CRLS = """
SELECT c.url, c.document, c.document_sha256, c.last_update_ts
FROM trust_crls AS c JOIN unnest($1::text[], $2::text[]) AS known(url, document_sha256) ON c.url = known.url
WHERE c.document IS NOT NULL AND c.document_sha256 IS DISTINCT FROM known.document_sha256
"""


async def load_crls(tx: Connection, codec: Codec, known: Mapping[str, str | None]) -> dict[str, CrlDocument]:
    """The lists of these addresses, where they are others than those known. `known` has the SHA-256 of what is known by
    address, None where nothing is."""
    rows = await tx.fetch(LOAD_CRLS, list(known), list(known.values()))
    return {
        row["url"]: CrlDocument(
            document=codec.decode(row["document"]),
            document_sha256=row["document_sha256"],
            last_update_ts=row["last_update_ts"],
        )
        for row in rows
    }


CLAIM_CRLS = """
INSERT INTO trust_crls AS known (url, attempted_ts) SELECT url, $2 FROM unnest($1::text[]) AS wanted(url)
ON CONFLICT (url) DO UPDATE SET attempted_ts = $2
 WHERE known.attempted_ts <= $2 - $3 OR known.attempted_ts > $2
RETURNING url
"""


async def claim_crls(tx: Connection, urls: Collection[str], *, now_ms: int, pause_ms: int) -> set[str]:
    """Those of the lists that the caller is to fetch now: nobody has begun to within `pause_ms`."""
    return {row["url"] for row in await tx.fetch(CLAIM_CRLS, sorted(urls), now_ms, pause_ms)}


STORE_CRL = """
INSERT INTO trust_crls AS known (url, document, document_sha256, last_update_ts, attempted_ts)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (url) DO UPDATE
   SET document = excluded.document, document_sha256 = excluded.document_sha256,
       last_update_ts = excluded.last_update_ts, problem = NULL
 WHERE known.last_update_ts IS NULL OR known.last_update_ts <= excluded.last_update_ts
"""


async def store_crl(tx: Connection, codec: Codec, url: str, crl: CrlDocument, now_ms: int) -> None:
    """Keep a list, unless the one that is kept is newer."""
    await tx.execute(STORE_CRL, url, codec.encode(crl.document), crl.document_sha256, crl.last_update_ts, now_ms)


NOTE_CRL_PROBLEM = "UPDATE trust_crls SET problem = $2 WHERE url = $1"


async def note_crl_problem(tx: Connection, url: str, problem: str | None) -> None:
    """Why the last attempt to fetch the list failed; None: it did not."""
    await tx.execute(NOTE_CRL_PROBLEM, url, None if problem is None else problem[:PROBLEM_LENGTH_MAX])


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlStatus:
    """A list: when it says to be made, when fetching last began, and why that failed."""

    url: str
    last_update_ts: int | None
    attempted_ts: int
    problem: str | None


LIST_CRLS = "SELECT url, last_update_ts, attempted_ts, problem FROM trust_crls ORDER BY url LIMIT $1"


async def list_crls(tx: Connection, *, limit: int) -> list[CrlStatus]:
    """The lists that are kept."""
    return [CrlStatus(**dict(row)) for row in await tx.fetch(LIST_CRLS, limit)]


REAP_CRLS = "DELETE FROM trust_crls WHERE attempted_ts < $1"


async def reap_crls(tx: Connection, now_ms: int) -> None:
    """Remove lists that nobody has asked for in a long time."""
    await tx.execute(REAP_CRLS, now_ms - UNUSED_MS)
