"""Fetching the keys of all servers that have signed events of a large answer, side by side and while there is time:
then each chunk of the events is verified without waiting for a server that is gone.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tim_server.federation.keys import KeyRing
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName
from tim_server.matrix.room_versions import EventFormat, RoomVersion
from tim_server.services.rooms.member_content import AUTHORISED_VIA, MEMBER

SERVERS_MAX = 5_000
KEYS_PER_SERVER_MAX = 20
TIMEOUT_S = 60.0


@dataclass(slots=True, kw_only=True)
class KeyPrefetch:
    """`note` is called with each PDU, `fetch` once at the end. Who is not among the servers then, or does not answer in
    time, is asked again when an event is verified."""

    keys: KeyRing
    version: RoomVersion
    _wanted: dict[ServerName, set[str]] = field(default_factory=dict)

    def note(self, pdu: Mapping[str, Any]) -> None:
        """Whose keys the PDU needs, of which nothing is checked yet."""
        signatures, content = pdu.get("signatures"), pdu.get("content")
        if not isinstance(signatures, dict):
            return
        signers = [pdu.get("sender")]
        if self.version.event_format is EventFormat.SENDER_ASSIGNED_ID:
            signers.append(pdu.get("event_id"))
        if pdu.get("type") == MEMBER and isinstance(content, dict):
            signers.append(content.get(AUTHORISED_VIA))
        for signer in signers:
            server = signer.partition(":")[2] if isinstance(signer, str) else ""
            of_server = signatures.get(server)
            if server and isinstance(of_server, dict):
                self._want(server, of_server)

    def _want(self, server: str, of_server: Mapping[str, Any]) -> None:
        known = self._wanted.get(ServerName(server))
        if known is None:
            if len(self._wanted) >= SERVERS_MAX:
                return
            with suppress(InvalidIdentifier):
                known = self._wanted.setdefault(ServerName.parse(server), set())
        if known is not None and len(known) < KEYS_PER_SERVER_MAX:
            known.update(key_id for key_id in of_server if len(key_id) < 256)

    async def fetch(self) -> None:
        """Have the keys fetched that are not known."""
        await self.keys.prepare(self._wanted, timeout_s=TIMEOUT_S)
