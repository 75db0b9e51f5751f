"""Profiles of users of other servers.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tim_server.federation.client import FederationClient
from tim_server.federation.queries import query_profile
from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.identifiers import UserId
from tim_server.services.servers.remembered import Remembered
from tim_server.services.servers.told import errors_told
from tim_server.services.trust.gate import ChokePoint, TrustGate

PROFILE_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteProfiles:
    """Asks other servers for profiles, which are remembered for a short while."""

    client: FederationClient
    gate: TrustGate
    known: Remembered[UserId, Mapping[str, bytes]] = field(default_factory=Remembered)

    async def fetch(self, user_id: UserId) -> Mapping[str, bytes]:
        """All fields, as JSON values; raises `NotFound`, `Forbidden`, `BadGateway`."""
        await self.gate.require(ChokePoint.CLIENT_REQUEST, [user_id.server_name])
        async with errors_told("profile"):
            return await self.known.get(user_id, partial(self._ask, user_id))

    async def _ask(self, user_id: UserId) -> Mapping[str, bytes]:
        return _fields_of(await query_profile(self.client, user_id))


def _fields_of(answer: Mapping[str, Any]) -> Mapping[str, bytes]:
    """The fields as JSON, as many as a profile may hold. An empty value is one that is not set."""
    fields: dict[str, bytes] = {}
    left = PROFILE_BYTES_MAX
    for name, value in answer.items():
        if value is None:
            continue
        try:
            encoded = encode_relaxed(value)
        except CanonicalJsonError:
            continue
        left -= len(encoded) + len(name)
        if left < 0:
            break
        fields[name] = encoded
    return fields
