"""What is known of the keys of servers: kept in the database, and in memory of those that were needed last."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import KeyDocument, ServerKeys, merged
from tim_server.storage.server_keys import load_key_document, load_server_keys, put_key_document, put_server_keys
from tim_server.storage.store import Store

SERVERS_MAX = 10_000

log = structlog.get_logger(__name__)

Wanted = Collection[tuple[tuple[str, ...], int | None]]
"""Ids of keys of which one is enough, each time with when it must have been valid, in milliseconds; None: ever."""


@dataclass(slots=True, kw_only=True)
class KnownKeys:
    """What is known of a server: its keys, when its newest document was fetched and until when that is good (0 where
    there is none), when it was asked last, and how often in a row in vain."""

    keys: ServerKeys = field(default_factory=dict)
    fetched_ts: int = 0
    valid_until_ts: int = 0
    asked_ts: int | None = None
    failures: int = 0

    def usable(self, key_ids: Collection[str], at_ms: int | None) -> dict[str, bytes]:
        """Those of the keys that were valid then: 32 bytes each."""
        keys = ((key_id, self.keys.get(key_id)) for key_id in key_ids)
        return {key_id: key.verify_key for key_id, key in keys if key is not None and key.was_valid(at_ms)}

    def in_use(self, key_ids: Collection[str], now_ms: int) -> dict[str, bytes]:
        """Those of the keys that the server signs requests with; old keys "are only valid for signing events"."""
        usable = self.usable(key_ids, now_ms)
        return {key_id: verify_key for key_id, verify_key in usable.items() if not self.keys[key_id].is_old}

    def lacks(self, wanted: Wanted) -> bool:
        """Whether nothing is known of what is wanted in one of these cases."""
        return any(key_ids and not self.usable(key_ids, at_ms) for key_ids, at_ms in wanted)


@dataclass(slots=True, kw_only=True)
class KeyMemory:
    """Remembers what is known."""

    store: Store
    _known: "OrderedDict[ServerName, KnownKeys]" = field(default_factory=OrderedDict)

    async def load(self, server_names: Collection[ServerName]) -> Mapping[ServerName, KnownKeys]:
        """What is known of each of these servers. It changes while more becomes known."""
        found = {name: known for name in server_names if (known := self._known.get(name)) is not None}
        missing = [name for name in server_names if name not in found]
        if missing:
            async with self.store.database.connection() as connection:
                stored = await load_server_keys(connection, missing)
            for name, kept in stored.items():
                known = KnownKeys(keys=kept.keys, fetched_ts=kept.fetched_ts, valid_until_ts=kept.valid_until_ts)
                found[name] = self._known.setdefault(name, known)
        for name, known in found.items():
            found[name] = self._known.setdefault(name, known)  # what others may have driven out meanwhile
            self._known.move_to_end(name)
        while len(self._known) > SERVERS_MAX:
            self._known.popitem(last=False)
        return found

    async def document(self, server_name: ServerName) -> bytes | None:
        """The newest document of a server, as JSON."""
        async with self.store.database.connection() as connection:
            return await load_key_document(connection, server_name)

    async def take(
        self, server_name: ServerName, known: KnownKeys, document: KeyDocument, *, now_ms: int, is_direct: bool
    ) -> None:
        """Take in a document that was fetched now, from the server itself if it `is_direct`, else from a notary, whose
        word does not take the place of what the server said later."""
        known.keys = merged(known.keys, document.keys, is_direct=is_direct)
        is_newest = is_direct or document.valid_until_ts > known.valid_until_ts
        if is_newest:
            known.fetched_ts, known.valid_until_ts = now_ms, document.valid_until_ts
        keys = {key_id: known.keys[key_id] for key_id in document.keys if key_id in known.keys}
        value = encode_relaxed(document.value)
        try:
            async with self.store.database.transaction() as tx:
                await put_server_keys(tx, server_name, keys)
                if is_newest:
                    await put_key_document(
                        tx, server_name, value, fetched_ts=now_ms, valid_until_ts=document.valid_until_ts
                    )
        except Unavailable:
            log.warning("keys of another server could not be kept", server=server_name)
