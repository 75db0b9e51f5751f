"""Everything that a tenant's database holds, so that a test can say that nothing changed."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from tim_server.storage.connect import connect

_TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"
_VOLATILE = "last_seen_ts"  # of devices: that somebody asked is seen, whatever the answer


class Tables:
    """All tables of a tenant, over a connection of its own."""

    def __init__(self, connection: Any, names: list[str]) -> None:
        self._connection = connection
        self._every_row = " UNION ALL ".join(
            f"SELECT '{name}', (to_jsonb(t) - '{_VOLATILE}')::text FROM {name} t" for name in names
        )

    async def dump(self) -> Counter[tuple[str, str]]:
        """All rows as (table, text)."""
        return Counter((row[0], row[1]) for row in await self._connection.fetch(self._every_row))

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Nothing may have changed at the end, but that the audit log may tell of refusals."""
        before = await self.dump()
        yield
        after = await self.dump()
        new = [(table, row) for table, row in after - before if not _is_refusal(table, row)]
        assert not (before - after) and not new, f"gone: {list(before - after)}, new: {new}"


def _is_refusal(table: str, row: str) -> bool:
    return table == "audit_log" and json.loads(row)["outcome"] == "refused"


@asynccontextmanager
async def open_tables(dsn: str) -> AsyncIterator[Tables]:
    """The tables of a migrated schema."""
    async with AsyncExitStack() as stack:
        connection = await connect(dsn)
        stack.push_async_callback(connection.close)
        yield Tables(connection, [row[0] for row in await connection.fetch(_TABLES)])
