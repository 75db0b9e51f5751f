"""Asking a server, or a notary, for key documents.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import KeyDocument, read_key_document

KEYS_PATH = "/_matrix/key/v2/server"
QUERY_PATH = "/_matrix/key/v2/query"
BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=65_536)
NOTARY_BOUNDS = RequestBounds(timeout_s=10.0, size_bytes_max=2**20, can_do_without=True)
DOCUMENTS_MAX = 20
"""How many documents of a server a notary may tell; it may have kept those of former keys."""


async def fetch_keys(client: FederationClient, server_name: ServerName, *, now_ms: int) -> KeyDocument:
    """The server's own word on its keys; raises what the client raises, and `BadSignature`."""
    value = await client.get(server_name, KEYS_PATH, bounds=BOUNDS)
    return read_key_document(value, server_name, fetched_ts=now_ms)


async def fetch_from_notary(
    client: FederationClient, notary: ServerName, server_name: ServerName, *, now_ms: int
) -> list[KeyDocument]:
    """What a notary tells of a server's keys, as far as it is signed by that server, the newest last; that it is signed
    by the notary too remains to be verified. Raises what the client raises, also where the trust gate refuses the
    server, whose keys are then not asked for; and `BadSignature` where there is nothing."""
    await client.outgoing.admit(server_name)
    answer = await client.post(notary, QUERY_PATH, {"server_keys": {str(server_name): {}}}, bounds=NOTARY_BOUNDS)
    told = answer.get("server_keys")
    documents: list[KeyDocument] = []
    reason = "the notary does not know the server"
    for value in told[:DOCUMENTS_MAX] if isinstance(told, list) else ():
        try:
            documents.append(read_key_document(value, server_name, fetched_ts=now_ms))
        except BadSignature as error:
            reason = str(error)
    if not documents:
        raise BadSignature(reason)
    return sorted(documents, key=lambda document: document.valid_until_ts)
