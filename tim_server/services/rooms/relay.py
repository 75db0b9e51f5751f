"""Relaying: what a server that is not in the room has us take in, such as a join, this server tells to the others.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from dataclasses import replace

from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.servers_to_tell import remote_servers
from tim_server.storage.room_commit_records import Owed


def relayed(decision: Decision, head: RoomHead, own: ServerName) -> Decision:
    """The decision, with its accepted events told to the servers that were in the room on `head`, except each event to
    the server of its sender, which knows it."""
    if decision.commit is None:
        return decision
    in_room = remote_servers(head.joined_servers, own)
    owed = []
    for index, new in enumerate(decision.commit.events):
        destinations = tuple(server for server in in_room if server != new.sender.server_name)
        if destinations and not new.outlier:
            owed.append(Owed(event_index=index, destinations=destinations))
    return replace(decision, commit=replace(decision.commit, outbox=(*decision.commit.outbox, *owed)))
