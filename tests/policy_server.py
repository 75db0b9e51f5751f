"""A policy server made by hand: a peer with a user in the room, which recommends events or does not."""

from dataclasses import dataclass, field
from typing import Any

import nacl.signing
from aiohttp import web

from tests.peer import Asked, Peer
from tests.shared_rooms import SharedRoom
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import SigningKey, sign_event
from tim_server.matrix.policy_servers import KEY_ID

SIGN = "/_matrix/policy/v1/sign"


@dataclass(repr=False)
class ByHand:
    """`refuses` are words that no message may hold; `asked` the events that it was asked about."""

    room: SharedRoom
    key: SigningKey = field(
        default_factory=lambda: SigningKey(key_id=KEY_ID, key=nacl.signing.SigningKey(b"\x09" * 32))
    )
    refuses: set[str] = field(default_factory=set)
    asked: list[Event] = field(default_factory=list)

    @property
    def peer(self) -> Peer:
        return self.room.peer

    @property
    def content(self) -> dict[str, Any]:
        """The content of `m.room.policy`."""
        return {"via": self.peer.name, "public_keys": {"ed25519": unpadded_base64(self.key.verify_key)}}

    async def begin(self) -> None:
        """Have the room use it."""
        self.peer.answers["POST", SIGN] = self._sign
        await self.room.alice.put(f"rooms/{self.room.room_id}/state/m.room.policy", self.content)

    def signed(self, event: Event) -> dict[str, Any]:
        """The event as a PDU with the recommendation."""
        return sign_event(event.pdu, event.room_version, self.peer.name, self.key)

    async def _sign(self, request: Asked) -> Any:
        event = read_pdu(request.json, self.room.fork.version)
        self.asked.append(event)
        if any(word in str(event.content) for word in self.refuses):
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "not in this ward"}, status=400)
        signature = self.signed(event)["signatures"][self.peer.name][KEY_ID]
        return {str(self.peer.name): {KEY_ID: signature}}
