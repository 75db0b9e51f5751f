"""Key rings as of a server that has just started, with a clock of their own."""

from dataclasses import dataclass
from typing import Any

from tests.conftest import Neighbourhood
from tests.peer import Peer
from tim_server.federation.key_memory import KeyMemory
from tim_server.federation.keys import KeyRing

KEYS = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"
HOUR_MS = 3_600_000
KEY_ID = "ed25519:peer"


@dataclass
class Ring:
    """A key ring with a clock of its own, as if its server had just started; and the peer."""

    keys: KeyRing
    peer: Peer
    now: list[int]

    async def ask(self, key_id: str = KEY_ID, at: int | None = None) -> list[str]:
        """Which of the keys are had that were valid then."""
        return list(await self.keys.keys_of(self.peer.name, [key_id], valid_at_ms=at))

    def asked(self) -> int:
        return len(self.peer.asked(KEYS))


def new_ring(neighbourhood: Neighbourhood, now: list[int], **options: Any) -> KeyRing:
    opened = neighbourhood.a.process.homeservers[0]
    memory = KeyMemory(store=opened.store)
    return KeyRing(client=opened.federation.client, memory=memory, now_ms=lambda: now[0], **options)
