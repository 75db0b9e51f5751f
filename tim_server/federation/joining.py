"""Sending a join event to a server in the room, and reading what it answers: the room's whole state.

Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tim_server.egress.client import StreamedResponse
from tim_server.federation.arriving_object import ArrivingObject, Item, MalformedAnswer
from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient, encode_relaxed
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName

ERROR_BYTES_MAX = 64 * 1024


@dataclass(slots=True, kw_only=True)
class RoomOfJoin:
    """The state before a join and its auth chain, each the JSON of PDUs as they came, and the join `event` where the
    server gave it back. Nothing of it is checked."""

    state: list[bytes] = field(default_factory=list)
    auth_chain: list[bytes] = field(default_factory=list)
    event: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinAnswerBounds:
    """How long the answer may take, how large it may be, and how many events it may hold."""

    timeout_s: float = 300.0
    size_bytes_max: int = 100 * 2**20
    events_max: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSending:
    """Sends join events. `note` is called with each PDU of the answer, decoded, while it arrives."""

    client: FederationClient
    bounds: JoinAnswerBounds
    note: Callable[[Mapping[str, Any]], None] = lambda pdu: None

    async def send(self, destination: ServerName, event: Event) -> RoomOfJoin:
        """`PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`, or v1 where a server knows that only.

        Raises `RemoteError` and what `egress` raises.
        """
        try:
            return await self._send("v2", destination, event)
        except RemoteError as error:
            if not error.is_unrecognized:
                raise
        return await self._send("v1", destination, event)

    async def _send(self, api: str, destination: ServerName, event: Event) -> RoomOfJoin:
        path = path_of(f"/_matrix/federation/{api}/send_join/{{}}/{{}}", event.room_id, event.event_id)
        bounds = RequestBounds(timeout_s=self.bounds.timeout_s, size_bytes_max=self.bounds.size_bytes_max)
        body = encode_relaxed(event.pdu)
        async with self.client.stream("PUT", destination, path, body, bounds=bounds) as response:
            if response.status != 200:
                raise RemoteError.of(destination, response.status, await _error_of(response))
            try:
                return await self._read(response)
            except MalformedAnswer as error:
                raise RemoteError.malformed(destination, str(error)) from None

    async def _read(self, response: StreamedResponse) -> RoomOfJoin:
        reader = ArrivingObject(arrays=("state", "auth_chain"))
        answer = RoomOfJoin()
        async for chunk in response.chunks:
            for item in reader.feed(chunk):
                self._take(answer, item)
        for item in reader.end():
            self._take(answer, item)
        event = reader.members.get("event")
        answer.event = event if isinstance(event, dict) else None
        return answer

    def _take(self, answer: RoomOfJoin, item: Item) -> None:
        self.note(item.value)
        (answer.state if item.array == "state" else answer.auth_chain).append(item.json)
        if len(answer.state) + len(answer.auth_chain) > self.bounds.events_max:
            raise MalformedAnswer(f"it holds more than {self.bounds.events_max} events")


async def _error_of(response: StreamedResponse) -> Any:
    """The JSON of an error; None where it is none, or too large."""
    body = bytearray()
    async for chunk in response.chunks:
        body += chunk
        if len(body) > ERROR_BYTES_MAX:
            return None
    try:
        return decode_lenient(bytes(body))
    except CanonicalJsonError:
        return None
