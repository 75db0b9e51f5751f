"""Policy servers: whether a room uses one, and whether that one has recommended an event.

Spec: https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import decode_base64, verify_event_signature
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName

POLICY = ("m.room.policy", "")
KEY_ID = "ed25519:policy_server"
"""The id of the key "is *always*" this one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyServer:
    """A room's policy server, and the key with which it recommends events: 32 bytes."""

    server_name: ServerName
    verify_key: bytes

    def has_signed(self, event: Event) -> bool:
        """Whether the event bears the server's recommendation."""
        try:
            verify_event_signature(event.pdu, event.room_version, self.server_name, KEY_ID, self.verify_key)
        except BadSignature:
            return False
        return True

    def with_signature(self, event: Event, signature: str) -> Event:
        """The event with the server's signature beside those that it has."""
        signatures = {server: dict(keys) for server, keys in event.pdu["signatures"].items()}
        signatures.setdefault(str(self.server_name), {})[KEY_ID] = signature
        return read_stored_pdu({**event.pdu, "signatures": signatures}, event.room_version, event.event_id)


def policy_server_of(content: Mapping[str, Any], joined_servers: Mapping[str, int]) -> PolicyServer | None:
    """The policy server that the content of `m.room.policy` names; None where it is not valid, or the server "has at
    least one joined user in the room" no more."""
    via, public_keys = content.get("via"), content.get("public_keys")
    key = public_keys.get("ed25519") if isinstance(public_keys, dict) else None
    if not isinstance(via, str) or not isinstance(key, str) or joined_servers.get(via, 0) < 1:
        return None
    try:
        return PolicyServer(server_name=ServerName.parse(via), verify_key=decode_base64(key))
    except (InvalidIdentifier, ValueError):
        return None


def needs_recommendation(event: Event) -> bool:
    """Whether the policy server is asked about an event: about all "but `m.room.policy` state events with empty string
    `state_key`s"."""
    return (event.type, event.state_key) != POLICY
