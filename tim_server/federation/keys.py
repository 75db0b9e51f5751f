"""The keys that other servers sign with: fetched from them, remembered, and used to verify what they have signed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import (
    decode_base64,
    required_signers,
    verify_event_signature,
    verify_json,
)
from tim_server.matrix.identifiers import EventId, ServerName

KEY_IDS_MAX = 50


@dataclass(slots=True, kw_only=True)
class KeyRing:
    """Verify keys of other servers, and of our own."""

    client: FederationClient
    _known: dict[ServerName, dict[str, bytes]] = field(default_factory=dict)

    async def keys_of(self, server_name: ServerName, key_ids: Collection[str], *, valid_at_ms: int) -> dict[str, bytes]:
        """Those of the server's keys that were valid at a time, by key id: 32 bytes each. Fetched where they are not
        known; empty where they can't be had."""
        author = self.client.author
        if server_name == author.server_name:
            return {author.key.key_id: author.key.verify_key}
        known = self._known.get(server_name, {})
        if not set(key_ids) <= known.keys():
            known = await self._fetch(server_name)
        return {key_id: known[key_id] for key_id in key_ids if key_id in known}

    async def verify(self, value: Mapping[str, Any], server_name: ServerName, *, valid_at_ms: int) -> None:
        """Raises `BadSignature` unless the server has signed the JSON object with a key that was valid then."""
        key_ids = _key_ids(value, server_name)
        keys = await self.keys_of(server_name, key_ids, valid_at_ms=valid_at_ms)
        for key_id, verify_key in keys.items():
            verify_json(value, server_name, key_id, verify_key)
            return
        raise BadSignature(f"no key of {server_name} that could verify the signature is known")

    async def unverified(self, events: Sequence[Event]) -> dict[EventId, str]:
        """Why events are not signed by all servers that must have signed them, by event id; those that are not named
        are. One request for each server whose keys are not known."""
        wanted: dict[ServerName, set[str]] = {}
        reasons: dict[EventId, str] = {}
        signers: dict[EventId, set[ServerName]] = {}
        for event in events:
            try:
                signers[event.event_id] = required_signers(event)
            except BadSignature as error:
                reasons[event.event_id] = str(error)
                continue
            for server in signers[event.event_id]:
                wanted.setdefault(server, set()).update(_key_ids(event.pdu, server))
        found = await asyncio.gather(*(self.keys_of(s, ids, valid_at_ms=0) for s, ids in wanted.items()))
        keys = dict(zip(wanted, found, strict=True))
        for event in events:
            for server in signers.get(event.event_id, ()):
                reason = _refusal(event, server, keys[server])
                if reason is not None:
                    reasons[event.event_id] = reason
        return reasons

    async def _fetch(self, server_name: ServerName) -> dict[str, bytes]:
        try:
            answer = await self.client.get(server_name, "/_matrix/key/v2/server")
            keys = {key_id: decode_base64(key["key"]) for key_id, key in answer["verify_keys"].items()}
            if answer["server_name"] != server_name or not keys:
                return {}
            for key_id, verify_key in keys.items():
                verify_json(answer, server_name, key_id, verify_key)
        except (OutgoingError, RemoteError, BadSignature, KeyError, TypeError, ValueError, AttributeError):
            return {}
        self._known[server_name] = keys
        return keys


def _key_ids(value: Mapping[str, Any], server_name: str) -> list[str]:
    """Ids of the keys with which the server says to have signed."""
    signatures = value.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    return [k for k in of_server if isinstance(k, str)][:KEY_IDS_MAX] if isinstance(of_server, dict) else []


def _refusal(event: Event, server: ServerName, keys: Mapping[str, bytes]) -> str | None:
    for key_id, verify_key in keys.items():
        try:
            verify_event_signature(event.pdu, event.room_version, server, key_id, verify_key)
        except BadSignature as error:
            return str(error)
        return None
    return f"no key of {server} that could verify the signature is known"
