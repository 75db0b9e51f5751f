"""Asking a server, or a notary, for key documents.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

from dataclasses import dataclass

from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.federation.errors import RemoteError
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.server_keys import KeyDocument, read_key_document

KEYS_PATH = "/_matrix/key/v2/server"
QUERY_PATH = "/_matrix/key/v2/query"


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedKeys:
    """A document, and what was found about the connection to the server itself; None where a notary gave it."""

    document: KeyDocument
    finding: str | None


async def fetch_keys(
    client: FederationClient, server_name: ServerName, *, now_ms: int, bounds: RequestBounds
) -> FetchedKeys:
    """The server's own word on its keys; raises what the client raises, and `BadSignature`."""
    async with client.stream("GET", server_name, KEYS_PATH, bounds=bounds) as response:
        body = b"".join([chunk async for chunk in response.chunks])
        finding = response.finding
    if response.status != 200:
        raise RemoteError.of(server_name, response.status, None)
    try:
        value = decode_lenient(body)
    except CanonicalJsonError:
        raise RemoteError.malformed(server_name, "the keys are not JSON") from None
    return FetchedKeys(document=read_key_document(value, server_name, fetched_ts=now_ms), finding=finding)


async def fetch_from_notary(
    client: FederationClient, notary: ServerName, server_name: ServerName, *, now_ms: int, bounds: RequestBounds
) -> FetchedKeys:
    """What a notary tells of a server's keys, of which the server's own signature is verified; raises what the client
    raises, and `BadSignature`."""
    await client.outgoing.admit(server_name)  # no notary is a way around the trust gate
    body: dict[str, object] = {"server_keys": {str(server_name): {}}}
    answer = await client.post(notary, QUERY_PATH, body, bounds=bounds)
    documents = answer.get("server_keys")
    for value in documents if isinstance(documents, list) else ():
        if isinstance(value, dict) and value.get("server_name") == server_name:
            return FetchedKeys(document=read_key_document(value, server_name, fetched_ts=now_ms), finding=None)
    raise BadSignature("the notary does not know the server")
