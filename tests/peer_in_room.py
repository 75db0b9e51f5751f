"""Rooms of a hospital in which users of a scripted peer take part: the peer's events are put in as received ones."""

from typing import Any

from tests.hospitals import NetworkedHospital
from tests.peer import Peer
from tests.people import Person
from tests.services.rooms.forks import Fork
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import Incoming

MEMBER = "m.room.member"
HISTORY_VISIBILITY = "m.room.history_visibility"
TEXT = {"msgtype": "m.text", "body": "Hello"}


def queues_of(hospital: NetworkedHospital) -> RoomQueues:
    """The room queues of a hospital."""
    return hospital.process.homeservers[0].homeserver.room_sender.queues


class PeerInRoom:
    """A room of a hospital as the peer takes part in it. `carol` is the peer's first user."""

    def __init__(self, hospital: NetworkedHospital, peer: Peer, room_id: str) -> None:
        self.hospital, self.peer, self.room_id = hospital, peer, RoomId(room_id)
        self.carol = UserId(f"@carol:{peer.name}")

    async def fork(self) -> Fork:
        """What the peer knows of the room, if it knows all."""
        queues = queues_of(self.hospital)
        head = await queues.heads.get(self.room_id)
        assert head is not None
        events = await queues.parsed.load(head.state.values(), head.version)
        return Fork(head, events, author=self.peer.author, sender=self.carol)

    async def receive(self, *events: Event) -> None:
        """The hospital receives these events."""
        await queues_of(self.hospital).submit(self.room_id, Incoming(events=events))

    async def send(self, event_type: str = "m.room.message", content: Any = None, **fields: Any) -> str:
        """An event of the peer's, on the room's head; its id."""
        event = (await self.fork()).make(event_type, TEXT if content is None else content, **fields)
        await self.receive(event)
        return event.event_id

    async def join(self, user_id: str = "") -> str:
        """A user of the peer, by default Carol, joins."""
        return await self._member("join", user_id)

    async def leave(self, user_id: str = "") -> str:
        """A user of the peer, by default Carol, leaves."""
        return await self._member("leave", user_id)

    async def _member(self, membership: str, user_id: str) -> str:
        sender = UserId(user_id or self.carol)
        return await self.send(MEMBER, {"membership": membership}, state_key=sender, sender=sender)

    async def get(self, path: str, status: int = 200) -> Any:
        """What the hospital answers to the peer's GET of a path below the Server-Server API."""
        got, answer = await self.peer.ask(self.hospital.name, "GET", f"/_matrix/federation/v1/{path}")
        assert got == status, (path, got, answer)
        return answer

    async def post(self, path: str, body: Any, status: int = 200) -> Any:
        """What the hospital answers to the peer's POST."""
        got, answer = await self.peer.ask(self.hospital.name, "POST", f"/_matrix/federation/v1/{path}", body)
        assert got == status, (path, got, answer)
        return answer

    async def refused(self, status: int, errcode: str, path: str) -> None:
        """A GET that must fail like this."""
        answer = await self.get(path, status)
        assert answer["errcode"] == errcode, answer


async def room_with_peer(hospital: NetworkedHospital, peer: Peer, person: Person, **options: Any) -> PeerInRoom:
    """A person's public room that Carol has joined."""
    room = PeerInRoom(hospital, peer, await person.create_room(**options))
    await room.join()
    return room
