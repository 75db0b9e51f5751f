"""The account half of a homeserver behind real HTTP, and how tests talk to it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.account_services import AccountServices, Policies
from tim_server.admin_api import registration as shared_secret
from tim_server.client_api import (
    account_data,
    account_deactivation,
    capabilities,
    filter,
    login,
    logout,
    password_management,
    profile,
    refresh,
    registration,
    registration_tokens,
    support,
    versions,
    wellknown,
    whoami,
)
from tim_server.federation_api import wellknown as federation_wellknown

MODULES = (
    account_data,
    account_deactivation,
    capabilities,
    federation_wellknown,
    filter,
    login,
    logout,
    password_management,
    profile,
    refresh,
    registration,
    registration_tokens,
    shared_secret,
    support,
    versions,
    wellknown,
    whoami,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountServer:
    """A started server, its services, and how to talk to it."""

    services: AccountServices
    session: aiohttp.ClientSession
    base_url: str

    async def expect(self, status: int, method: str, path: str, *, token: str | None = None, **options: Any) -> Any:
        """The JSON of the response, which must have this status."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.session.request(method, self.base_url + path, headers=headers, **options) as response:
            body = await response.json()
            assert response.status == status, body
            return body

    async def expect_error(self, status: int, errcode: str, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The standard error response, which must have this status and errcode."""
        body: dict[str, Any] = await self.expect(status, method, path, **options)
        assert body["errcode"] == errcode
        assert isinstance(body["error"], str)
        return body


ServeAccounts = Callable[[Policies], Awaitable[AccountServer]]

ROUTES = tuple(route for module in MODULES for route in module.ROUTES)
