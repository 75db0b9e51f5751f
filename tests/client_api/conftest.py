"""What tests of the Client-Server API share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest

from tests.account_server import ROUTES, AccountServer, ServeAccounts
from tests.account_services import AccountServices, Policies
from tests.identity_site import IdentitySite, run_identity_site
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


@pytest.fixture(scope="module")
async def shared_identity_site(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[IdentitySite]:
    """Two hospitals and identity servers, for a whole module."""
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    async with run_identity_site(dsns, tmp_path_factory.mktemp("identity")) as site:
        yield site


@pytest.fixture
def site(shared_identity_site: IdentitySite) -> IdentitySite:
    """The same, with identity servers that know nothing yet."""
    shared_identity_site.identity.begin()
    shared_identity_site.elsewhere.begin()
    return shared_identity_site
