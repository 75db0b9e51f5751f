"""Which servers are asked for a room's history, and what their errors are."""

from collections.abc import Sequence

from tim_server.egress.errors import OutgoingError
from tim_server.federation.errors import RemoteError
from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.remote.fetch_history import HistoryRefused
from tim_server.services.rooms.remote.place_history import HoleTooSmall
from tim_server.services.rooms.remote.take_in_state import StateRefused
from tim_server.storage.database import DuplicateKey

NOT_HELPED = (RemoteError, OutgoingError, HistoryRefused, StateRefused, HoleTooSmall, DuplicateKey)
"""What may come of asking one server, so that another is asked."""


def servers_with_history(head: RoomHead, own: ServerName, likely: Sequence[ServerName] = ()) -> list[ServerName]:
    """Other servers in the room: those that are likely to have its history first, then those with the most members."""
    others = {server: count for server, count in head.joined_servers.items() if count > 0 and server != own}
    most = sorted(others, key=lambda server: -others[server])
    return [ServerName(server) for server in dict.fromkeys((*likely, *most)) if server in others]
