"""A web server over real HTTP, with routes that the tests define."""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp
import pytest
import structlog

from tim_server.matrix.errors import UnknownToken
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.web.server import HealthListener, Listener, WebServer, WebSettings
from tim_server.web.tenants import HostedTenant

ACCOUNTS = {
    "alice-token": Requester(user_id=UserId("@alice:example.org"), device_id="A", token_id=1),
    "guest-token": Requester(user_id=UserId("@guest:example.org"), device_id="G", token_id=2, is_guest=True),
    "admin-token": Requester(user_id=UserId("@admin:example.org"), device_id="R", token_id=3, is_admin=True),
}


class KnownTokens:
    """Tells requesters by token, as the accounts service does."""

    async def requester(self, token, *, locked_ok=False):
        if token not in ACCOUNTS:
            raise UnknownToken(soft_logout=False)
        return ACCOUNTS[token]


def make_tenant(name="example.org"):
    """A homeserver as far as the edge knows one, with room for what endpoints of a test write down."""
    return SimpleNamespace(name=name, authenticator=KnownTokens(), events=[])


@dataclass(frozen=True)
class Answer:
    """A response whose body was read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Server:
    """A started web server, and how to talk to it."""

    def __init__(self, web_server, tenant, session, log):
        self.web_server = web_server
        self.tenant = tenant
        self.session = session
        self.log = log

    @property
    def address(self):
        return self.web_server.addresses[0]

    async def request(self, method, path, *, token="alice-token", headers=None, **options):
        """Send a request with Alice's token, unless another or None is given; the response with its body read."""
        sent = {**({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        url = f"http://{self.address}{path}"
        async with self.session.request(method, url, headers=sent, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def error(self, method, path, **options):
        """Status and errcode of the answer, whose form is checked."""
        response = await self.request(method, path, **options)
        body = response.json()
        assert isinstance(body["error"], str)
        assert response.headers["Content-Type"] == "application/json"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return response.status, body["errcode"]

    async def health(self, path):
        url = f"http://{self.web_server.health_address}{path}"
        async with self.session.get(url) as response:
            return response.status, await response.read()

    async def connect(self):
        """A raw connection."""
        host, port = self.address.rsplit(":", 1)
        return await asyncio.open_connection(host, int(port))

    async def raw(self, data, *, read_size=65536):
        """Send bytes, return what comes back until the first pause."""
        reader, writer = await self.connect()
        writer.write(data)
        answer = await asyncio.wait_for(reader.read(read_size), 5)
        writer.close()
        return answer


@pytest.fixture
async def serve():
    """A function that starts a server: `await serve(*routes, checks=…, tenants=…, policy=…, **settings)`."""
    started = []
    async with aiohttp.ClientSession(skip_auto_headers=["User-Agent"]) as session:

        async def start(*routes, checks=None, tenants=None, policy=None, trusted_proxies=(), **settings):
            tenant = make_tenant()
            log = []
            server = WebServer(
                listeners=[Listener(routes=routes, trusted_proxies=trusted_proxies)],
                tenants=tenants or [HostedTenant(homeserver=tenant, host_names=["example.org"], **(policy or {}))],
                settings=WebSettings(**{"shutdown_seconds": 2.0, **settings}),
                health=HealthListener(checks=checks or {}),
                log_access=log.append,
            )
            await server.start()
            started.append(server)
            return Server(server, tenant, session, log)

        yield start
        for server in started:
            await server.stop()


@pytest.fixture
def captured_log():
    """Events that are logged through structlog."""
    with structlog.testing.capture_logs() as events:
        yield events


@pytest.fixture(autouse=True)
def quiet_asyncio():
    logging.getLogger("asyncio").setLevel(logging.ERROR)
