"""The services of joining across servers, in both directions."""

from tim_server.app.parts import Parts, now_ms
from tim_server.services.rooms.remote.check_join import JoinCheck
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.enter import RoomEntry
from tim_server.services.rooms.remote.join import RemoteJoin
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.services.rooms.remote.outliers import Outliers
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.services.rooms.remote.take_in_state import StateIntake


def make_remote_join(parts: Parts) -> RemoteJoin:
    """Build what joins rooms of other servers."""
    store, federation = parts.store, parts.federation
    check = PduCheck(keys=federation.keys)
    return RemoteJoin(
        author=parts.author,
        client=federation.client,
        servers=ServersOfRoom(
            server_name=parts.author.server_name, database=store.database, heads=parts.heads, gate=federation.gate
        ),
        known_rooms=KnownRooms(store=store, heads=parts.heads),
        intake=StateIntake(check=check, outliers=Outliers(store=store, parsed=parts.parsed), parsed=parts.parsed),
        check=JoinCheck(database=store.database, parsed=parts.parsed, check=check),
        entry=RoomEntry(
            server_name=parts.author.server_name,
            store=store,
            parsed=parts.parsed,
            resolver=parts.resolver,
            queues=parts.queues,
        ),
        now_ms=now_ms,
    )
