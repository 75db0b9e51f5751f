"""What tests of the Client-Server API share."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.account_server import ROUTES, AccountServer, ServeAccounts
from tests.account_services import AccountServices, Policies
from tim_server.storage.store import Store
from tim_server.web.server import Listener, WebServer
from tim_server.web.tenants import HostedTenant


@pytest.fixture
async def serve_accounts(store: Store) -> AsyncIterator[ServeAccounts]:
    """Start servers with the policies that a test wants."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())

        async def serve(policies: Policies) -> AccountServer:
            services = AccountServices(store, policies)
            server = WebServer(
                listeners=[Listener(routes=ROUTES)],
                tenants=[HostedTenant(homeserver=services, host_names=["hospital.example"])],
            )
            await server.start()
            stack.push_async_callback(server.stop)
            return AccountServer(services=services, session=session, base_url=f"http://{server.addresses[0]}")

        yield serve


@pytest.fixture
async def account_server(serve_accounts: ServeAccounts) -> AccountServer:
    """A server with registration open."""
    return await serve_accounts(Policies())


@pytest.fixture
async def account_token(account_server: AccountServer) -> str:
    """An access token of `@user:hospital.example`."""
    services = account_server.services
    if not any(user.user_id.localpart == "user" for user in await services.account_directory.list()):
        await services.make_user("user")
    tokens = await services.log_in("user")
    return tokens.access_token
