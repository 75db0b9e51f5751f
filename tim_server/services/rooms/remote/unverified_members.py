"""Noting whose members are missing from a room's state, so that it can be completed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from tim_server.federation.keys import KeyRing
from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.head import RoomHead
from tim_server.storage.store import Store
from tim_server.storage.unverified_servers import set_unverified

SERVERS_MAX = 100
"""How many servers are noted of a room."""
NAMED_MAX = 10
PAUSE_MS, PAUSE_AGAIN_MS = 10_000, 3_600_000
"""When it is tried first; and after the state was completed, so that nobody has us fetch it over and over."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedMembers:
    """Notes them."""

    store: Store
    keys: KeyRing
    now_ms: Callable[[], int]

    async def note(self, head: RoomHead, servers: Collection[ServerName], *, is_again: bool) -> None:
        """Of these servers members of the room did not pass: because of what they have signed, or since nothing is
        known of the keys of their servers. The latter are noted, and no others any more. `is_again`: the join was to
        complete the state."""
        known = await self.keys.memory.load(servers)
        lacking = sorted(server for server in servers if not known[server].keys)
        if lacking:
            log.warning(
                "members of a room are missing, as the keys of their servers can't be had",
                room_id=head.room_id,
                servers=lacking[:NAMED_MAX],
                count=len(lacking),
            )
        due_ts = self.now_ms() + (PAUSE_AGAIN_MS if is_again else PAUSE_MS)
        async with self.store.database.transaction() as tx:
            await set_unverified(tx, head.nid, lacking[:SERVERS_MAX], due_ts=due_ts)
