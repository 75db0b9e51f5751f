"""Relaying: what a server that is not in the room has us take in, such as a join, this server tells to the others.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from dataclasses import replace

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.servers_to_tell import remote_servers
from tim_server.storage.room_commit_records import Owed


class NotTakenIn(Forbidden):
    """M_FORBIDDEN: the room does not allow an event that was handed in."""

    default_message = "The room does not allow it"

    @classmethod
    def because(cls, rejected: str | None) -> "NotTakenIn":
        """The error for an event that was rejected, or (None) soft-failed."""
        return cls(cls.default_message if rejected is None else f"{cls.default_message}: {rejected}")


def relayed(decision: Decision, head: RoomHead, own: ServerName) -> Decision:
    """The decision on one event, told to the servers that were in the room on `head`, except the one of its sender,
    which knows it. An event that is not accepted answers `NotTakenIn`, and nothing of it is kept: as long as nothing
    stands on it, no other server need ever hear of it."""
    if decision.commit is None:
        return decision
    if decision.answers == ((),):
        refusal = NotTakenIn.because(decision.commit.events[0].rejected)
        return replace(decision, answers=(refusal,), commit=None, head=head, events=())
    in_room = remote_servers(head.joined_servers, own)
    owed = []
    for index, new in enumerate(decision.commit.events):
        destinations = tuple(server for server in in_room if server != new.sender.server_name)
        if destinations and not new.outlier:
            owed.append(Owed(event_index=index, destinations=destinations))
    return replace(decision, commit=replace(decision.commit, outbox=(*decision.commit.outbox, *owed)))
