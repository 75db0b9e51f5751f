"""The last good copy of each source of trust, shared by all processes and kept over restarts. Not derived.

One process fetches: it claims the attempt, and the others find its result here. A copy is replaced by a newer version
only, in the database too, unless an operator says otherwise.
"""

from dataclasses import dataclass

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="trust_directory",
        owner="services.trust",
        bound="one row a configured source, each with one document",
        reaper="none: it is replaced",
    ),
)

TRUST = "trust"
"""The commit log's stream, under this server's own name, for what it trusts."""
PROBLEM_LENGTH_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryDocument:
    """A document as it came, with its version and the SHA-256 of its content; `fetched_ts` is when it was accepted."""

    document: bytes
    version: int
    payload_sha256: str
    fetched_ts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDirectory:
    """What is known of a source. `copy` None: none was ever accepted. `generation` counts the copies; `checked_ts` is
    when the copy was last found to be the newest, `attempted_ts` when fetching last began, `problem` why it failed."""

    copy: DirectoryDocument | None
    generation: int
    checked_ts: int | None
    attempted_ts: int
    problem: str | None


LOAD_DIRECTORY = """
SELECT document, version, payload_sha256, fetched_ts, generation, checked_ts, attempted_ts, problem
FROM trust_directory WHERE source = $1
"""


async def load_directory(tx: Connection, codec: Codec, source: str) -> StoredDirectory | None:
    """The source's row; None before the first attempt."""
    row = await tx.fetchrow(LOAD_DIRECTORY, source)
    if row is None:
        return None
    copy = None
    if row["document"] is not None:
        copy = DirectoryDocument(
            document=codec.decode(row["document"]),
            version=row["version"],
            payload_sha256=row["payload_sha256"],
            fetched_ts=row["fetched_ts"],
        )
    return StoredDirectory(
        copy=copy,
        generation=row["generation"],
        checked_ts=row["checked_ts"],
        attempted_ts=row["attempted_ts"],
        problem=row["problem"],
    )


CLAIM_ATTEMPT = """
INSERT INTO trust_directory AS known (source, attempted_ts) VALUES ($1, $2)
ON CONFLICT (source) DO UPDATE SET attempted_ts = $2
 WHERE known.attempted_ts <= $2 - $3 OR known.attempted_ts > $2
RETURNING true
"""


async def claim_attempt(tx: Connection, source: str, *, now_ms: int, pause_ms: int) -> bool:
    """Whether the caller is to fetch now: nobody has begun to within `pause_ms`. A claim from the future, as after a
    clock was set back, counts for nothing."""
    return bool(await tx.fetchval(CLAIM_ATTEMPT, source, now_ms, pause_ms))


STORE_DIRECTORY = """
INSERT INTO trust_directory AS known
       (source, document, version, payload_sha256, generation, fetched_ts, checked_ts, attempted_ts)
VALUES ($1, $2, $3, $4, 1, $5, $5, $5)
ON CONFLICT (source) DO UPDATE
   SET document = excluded.document, version = excluded.version, payload_sha256 = excluded.payload_sha256,
       generation = known.generation + 1, fetched_ts = excluded.fetched_ts, checked_ts = excluded.checked_ts,
       problem = NULL
 WHERE $6 OR known.version IS NULL OR known.version < excluded.version
    OR (known.version = excluded.version AND known.payload_sha256 = excluded.payload_sha256)
RETURNING generation
"""


async def store_directory(
    tx: Connection, codec: Codec, source: str, copy: DirectoryDocument, *, allow_rollback: bool = False
) -> int | None:
    """Put a copy in force; its generation, or None where the one in force is newer, or another of the same version."""
    document = codec.encode(copy.document)
    stamped = (copy.version, copy.payload_sha256, copy.fetched_ts)
    generation: int | None = await tx.fetchval(STORE_DIRECTORY, source, document, *stamped, allow_rollback)
    return generation


NOTE_CHECKED = """
UPDATE trust_directory SET checked_ts = $2, problem = NULL WHERE source = $1
"""


async def note_checked(tx: Connection, source: str, now_ms: int) -> None:
    """The copy in force is the newest there is."""
    await tx.execute(NOTE_CHECKED, source, now_ms)


NOTE_PROBLEM = "UPDATE trust_directory SET problem = $2 WHERE source = $1"


async def note_problem(tx: Connection, source: str, problem: str) -> None:
    """The last attempt has failed; the copy stays in force."""
    await tx.execute(NOTE_PROBLEM, source, problem[:PROBLEM_LENGTH_MAX])
