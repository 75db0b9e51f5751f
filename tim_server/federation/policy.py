"""Asking a policy server to recommend an event.

Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixpolicyv1sign
"""

from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.policy_servers import KEY_ID

BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=16 * 1024)


async def sign(client: FederationClient, policy_server: ServerName, event: Event) -> str:
    """`POST /_matrix/policy/v1/sign`: the server's signature, which is not verified. Raises `RemoteError`, also where
    the server refuses, and what `egress` raises."""
    answer: Any = await client.post(policy_server, "/_matrix/policy/v1/sign", event.pdu, bounds=BOUNDS)
    of_server = answer.get(policy_server)
    signature = of_server.get(KEY_ID) if isinstance(of_server, dict) else None
    if not isinstance(signature, str):
        raise RemoteError.malformed(policy_server, "the answer has no signature")
    return signature
