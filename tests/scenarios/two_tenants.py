"""Two hospitals in one process, each with a doctor called Alice, a room and things that nobody else may see."""

import hashlib
import hmac
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from tests.people import CLIENT, MEDIA_STORE, PASSWORD, Person
from tests.table_dump import Tables, open_tables
from tim_server.app import prepare, start_process
from tim_server.config.settings import Settings
from tim_server.storage.audit_log import COMMAND_LINE

SERVER_NAMES = ("north.example", "south.example")
ROOMS_AT_ONCE = 3
SOUTHERN_POLICY = {
    "compatibility": {"r0_paths": True, "access_token_in_query": True},
    "rate_limits": {
        **{
            bucket: {"per_second": 10_000, "burst": 10_000}
            for bucket in [
                "default",
                "send",
                "to_device",
                "claim_keys",
                "join",
                "invite",
                "directory",
                "initial_sync",
                "login",
                "registration",
            ]
        },
        "create_room": {"per_second": 0.001, "burst": ROOMS_AT_ONCE},
        "exempt_users": ["@exempt:south.example"],
    },
}
"""What the south does differently: old habits of clients are served, and few rooms may be made at once."""
REGISTER = "/_synapse/admin/v1/register"
DATA_TYPE = "org.example.notes"


@dataclass(kw_only=True)
class Tenant:
    """A homeserver, its Alice, who administers it, and what she has there. `secret` stands in all of her data."""

    name: str
    dsn: str
    tables: Tables
    session: aiohttp.ClientSession
    shared_secret: str
    registration_token: str
    secret: str
    alice: Person = field(init=False)
    room_id: str = field(init=False)
    event_id: str = field(init=False)
    filter_id: str = field(init=False)

    @property
    def alias(self) -> str:
        """Of the room: with the same local part at both."""
        return f"#ward:{self.name}"

    async def person(self, username: str | None = None, *, admin: bool = False) -> Person:
        """A new account, made with the shared secret."""
        username = username or f"visitor-{secrets.token_hex(6)}"
        async with self.session.get(REGISTER) as response:
            nonce = (await response.json())["nonce"]
        status, answer = await self.register(nonce, username, self.shared_secret, admin=admin)
        assert status == 200, answer
        return Person(self.session, answer["user_id"], answer["access_token"], answer["device_id"])

    async def register(self, nonce: str, username: str, secret: str, *, admin: bool = False) -> tuple[int, Any]:
        """Shared-secret registration with any nonce and secret."""
        proof = "\0".join((nonce, username, PASSWORD, "admin" if admin else "notadmin"))
        mac = hmac.new(secret.encode(), proof.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": username, "password": PASSWORD, "mac": mac, "admin": admin}
        async with self.session.post(REGISTER, json=body) as response:
            return response.status, await response.json()

    def seen_as(self, person: Person) -> Person:
        """Somebody of any homeserver, with the same token, who calls at this one."""
        return Person(self.session, person.user_id, person.token, person.device_id)

    async def anonymous(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """A request without a token."""
        url = path if path.startswith("/") else f"{CLIENT}/{path}"
        async with self.session.request(method, url, json=body) as response:
            return response.status, await response.json()


async def furnish(tenant: Tenant) -> None:
    """Alice, her room with an alias, and her belongings."""
    secret = tenant.secret
    tenant.alice = alice = await tenant.person("alice", admin=True)
    await alice.put(f"profile/{alice.user_id}/displayname", {"displayname": secret})
    tenant.room_id = await alice.create_room(
        visibility="public", room_alias_name="ward", name=secret, topic=secret, preset="public_chat"
    )
    tenant.event_id = await alice.say(tenant.room_id, f"the diagnosis is {secret}")
    await alice.put(f"user/{alice.user_id}/account_data/{DATA_TYPE}", {"notes": secret})
    room_data = f"user/{alice.user_id}/rooms/{quote(tenant.room_id)}/account_data/{DATA_TYPE}"
    await alice.put(room_data, {"notes": secret})
    answer = await alice.post(f"user/{alice.user_id}/filter", {"room": {"rooms": [f"!{secret}:x"]}})
    tenant.filter_id = answer["filter_id"]


@asynccontextmanager
async def run_two_tenants(dsns: Sequence[str], folder: Path) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Both homeservers behind one listener."""
    sections: list[dict[str, Any]] = [
        {
            "server_name": name,
            "database": {"dsn": dsn},
            "registration": {"enabled": True, "requires_token": True, "shared_secret": f"registration at {name}"},
            "passwords": {"argon2_memory_kib": 64, "argon2_time_cost": 1},
            "rate_limits": {"enabled": False},
            # Or what people did before a test would still be written during it.
            "presence": {"enabled": False},
        }
        for name, dsn in zip(SERVER_NAMES, dsns, strict=True)
    ]
    sections[1] |= SOUTHERN_POLICY
    settings = Settings.model_validate(
        {"data_dir": str(folder), "listeners": [{"port": 0}], "media_store": MEDIA_STORE, "tenants": sections}
    )
    await prepare(settings)
    async with start_process(settings) as process, AsyncExitStack() as stack:
        base_url = f"http://{process.web_server.addresses[0]}"
        tenants = []
        for opened, dsn in zip(process.homeservers, dsns, strict=True):
            homeserver = opened.homeserver
            name = str(homeserver.server_name)
            session = aiohttp.ClientSession(base_url, headers={"Host": name})
            tenant = Tenant(
                name=name,
                dsn=dsn,
                tables=await stack.enter_async_context(open_tables(dsn)),
                session=await stack.enter_async_context(session),
                shared_secret=f"registration at {name}",
                registration_token=(await homeserver.registration_tokens.create(actor=COMMAND_LINE)).token,
                secret=f"secret-{secrets.token_hex(8)}",
            )
            await furnish(tenant)
            tenants.append(tenant)
        yield tenants[0], tenants[1]
