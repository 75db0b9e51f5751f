"""What the services of a homeserver are built from."""

import time
from dataclasses import dataclass

from tim_server.app.cache_budget import CacheBudget
from tim_server.app.federation_parts import FederationParts
from tim_server.config.settings import Settings, TenantSettings
from tim_server.matrix.events.build import Author
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.rooms.all_rooms import AllRooms
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.leave import RoomLeave
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.outside import OutsideMemberships
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.services.servers.resolve_alias import AliasResolution
from tim_server.storage.codec import Codec
from tim_server.storage.store import Store


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The configuration, and what several services share."""

    settings: Settings
    tenant: TenantSettings
    budget: CacheBudget
    worker_count: int
    store: Store
    media_codec: Codec
    """Seals the keys and names of files."""
    author: Author
    heads: RoomHeads
    parsed: ParsedEvents
    queues: RoomQueues
    resolver: StateResolver
    rules: KnownRules
    outside: OutsideMemberships
    leaving: RoomLeave
    membership: AllRooms
    client_events: ClientEvents
    federation: FederationParts
    aliases: AliasResolution
