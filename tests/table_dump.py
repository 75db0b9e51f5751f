"""Everything that a tenant's database holds, so that a test can say that nothing changed."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tim_server.storage.connect import connect

Rows = Counter[tuple[str, str]]

_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
_VOLATILE = "last_seen_ts"  # of devices: that somebody asked is seen, whatever the answer


async def dump_tables(dsn: str) -> Rows:
    """All rows of all tables, as (table, text)."""
    connection = await connect(dsn)
    try:
        names = [row[0] for row in await connection.fetch(_TABLES)]
        every_row = " UNION ALL ".join(f"SELECT '{n}', (to_jsonb(t) - '{_VOLATILE}')::text FROM {n} t" for n in names)
        return Counter((row[0], row[1]) for row in await connection.fetch(every_row))
    finally:
        await connection.close()


@asynccontextmanager
async def unchanged(*dsns: str) -> AsyncIterator[None]:
    """Nothing in these databases may have changed at the end."""
    before = [await dump_tables(dsn) for dsn in dsns]
    yield
    after = [await dump_tables(dsn) for dsn in dsns]
    assert [(old - new, new - old) for old, new in zip(before, after, strict=True)] == [(Rows(), Rows())] * len(dsns)
