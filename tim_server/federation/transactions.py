"""Transactions, as another server is sent them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.matrix.identifiers import EventId, InvalidIdentifier, ServerName

TRANSACTION_BOUNDS = RequestBounds(timeout_s=60.0, size_bytes_max=2**18)
"""Who lacks events fetches them before it answers. 50 errors of PDUs are far smaller than that."""


async def send_transaction(
    client: FederationClient, destination: ServerName, txn_id: str, body: bytes
) -> list[EventId]:
    """Push a transaction, `body` its canonical JSON; the events that the server says not to take.

    Raises what `FederationClient` raises.
    """
    path = path_of("/_matrix/federation/v1/send/{}", txn_id)
    answer = await client.put(destination, path, body, bounds=TRANSACTION_BOUNDS)
    pdus = answer.get("pdus")
    if not isinstance(pdus, dict):
        return []
    return [
        EventId(event_id)
        for event_id, outcome in pdus.items()
        if isinstance(outcome, dict) and "error" in outcome and _is_event_id(event_id)
    ]


def _is_event_id(text: str) -> bool:
    try:
        EventId.parse(text)
    except InvalidIdentifier:
        return False
    return text.isprintable()
