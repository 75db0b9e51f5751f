"""Keys of the devices and users of another server.

Spec: https://spec.matrix.org/v1.19/server-server-api/#end-to-end-encryption
"""

from collections.abc import Collection, Mapping
from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.matrix.identifiers import ServerName, UserId

ANSWER_BYTES_MAX = 32 * 2**20
CONTAINERS_MAX = 500_000
"""Some thousand devices of each of many users; a device has six."""


async def query_keys(
    client: FederationClient, destination: ServerName, user_ids: Collection[UserId], *, timeout_s: float
) -> dict[str, Any]:
    """The answer to `POST /_matrix/federation/v1/user/keys/query` for all devices of these users; raises what the
    client raises. Nothing of it is checked."""
    body: dict[str, Any] = {"device_keys": {str(user_id): [] for user_id in user_ids}}
    bounds = RequestBounds(
        timeout_s=timeout_s, size_bytes_max=ANSWER_BYTES_MAX, containers_max=CONTAINERS_MAX, can_do_without=True
    )
    return await client.post(destination, "/_matrix/federation/v1/user/keys/query", body, bounds=bounds)


async def claim_keys(
    client: FederationClient,
    destination: ServerName,
    wanted: Mapping[UserId, Mapping[str, str]],
    *,
    timeout_s: float,
) -> dict[str, Any]:
    """The answer to `POST /_matrix/federation/v1/user/keys/claim` for algorithms by user and device; raises what the
    client raises. Nothing of it is checked."""
    body: dict[str, Any] = {"one_time_keys": {str(user_id): dict(devices) for user_id, devices in wanted.items()}}
    bounds = RequestBounds(
        timeout_s=timeout_s, size_bytes_max=ANSWER_BYTES_MAX, containers_max=CONTAINERS_MAX, can_do_without=True
    )
    return await client.post(destination, "/_matrix/federation/v1/user/keys/claim", body, bounds=bounds)
