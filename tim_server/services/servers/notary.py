"""Telling servers of the keys of others, as a notary.

Spec: https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tim_server.egress.errors import ContactRefused
from tim_server.federation.keys import KeyRing
from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.identifiers import ServerName
from tim_server.services.servers.publish_keys import KeyPublication

SERVERS_MAX = 100
AT_ONCE_MAX = 20
"""Anybody may ask, so that what is fetched for it must not hold up what this server needs itself."""
WAIT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """Answers queries for keys: with what servers have signed, and its own signature beside theirs."""

    author: Author
    keys: KeyRing
    own: KeyPublication
    now_ms: Callable[[], int]
    _free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_MAX))

    async def documents(self, wanted: Mapping[ServerName, int | None]) -> list[dict[str, Any]]:
        """The documents of these servers, which are to be good until a time (None: now), as far as they can be had in
        time; none of servers that this one does not talk to. Of more than `SERVERS_MAX` the first."""
        now_ms = self.now_ms()
        tasks = [
            asyncio.create_task(self._document(name, now_ms if ts is None else ts), name="notary")
            for name, ts in islice(wanted.items(), SERVERS_MAX)
        ]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=WAIT_S)
            return [document for task in tasks if task.done() and (document := task.result()) is not None]
        finally:
            for task in tasks:
                task.cancel()

    async def _document(self, server_name: ServerName, valid_until_ms: int) -> dict[str, Any] | None:
        if server_name == self.author.server_name:
            return self.own.document()
        try:
            async with self._free:
                document = await self.keys.document_of(server_name, valid_until_ms=valid_until_ms)
        except ContactRefused:
            return None
        if document is None:
            return None
        return sign_json(decode_lenient(document), self.author.server_name, self.author.key)
