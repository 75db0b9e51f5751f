"""`tim-server user …`: accounts, straight in the database. Works whether or not the server runs."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tim_server.cli.databases import open_databases
from tim_server.cli.failures import CommandFailed
from tim_server.config.accounts import PasswordSettings
from tim_server.config.load import load_settings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.matrix.identifiers import InvalidIdentifier, UserId
from tim_server.services.accounts.change_password import PasswordChange
from tim_server.services.accounts.check_password import PasswordCheck
from tim_server.services.accounts.create_account import AccountCreation, NewAccount
from tim_server.services.accounts.directory import AccountDirectory
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import AttemptPolicy, PasswordPolicy, TokenPolicy, UiaPolicy
from tim_server.services.accounts.token_cache import TokenCache
from tim_server.services.accounts.uia import InteractiveAuth
from tim_server.storage.audit_log import COMMAND_LINE
from tim_server.storage.codec import make_codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.migrations import migrate
from tim_server.storage.store import Store, open_store
from tim_server.storage.users import User

T = TypeVar("T")

USERS_PER_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The services behind the commands, for one homeserver."""

    creation: AccountCreation
    hashing: PasswordHashing
    password_change: PasswordChange
    directory: AccountDirectory


def create_user(config: Path, name: str, password: str, *, is_admin: bool, server_name: str | None) -> UserId:
    """Make an account; its user id. Raises what `failures_told` tells."""

    async def create(accounts: Accounts) -> UserId:
        user_id = _user_id(accounts, name)
        accounts.hashing.check_acceptable(password)
        password_hash = await accounts.hashing.hash(password)
        account = NewAccount(user_id=user_id, password_hash=password_hash, actor=COMMAND_LINE, is_admin=is_admin)
        await accounts.creation.create(account)
        return user_id

    return _with_accounts(config, server_name, create)


def reset_password(config: Path, name: str, password: str, *, logout: bool, server_name: str | None) -> UserId:
    """Set an account's password, and with `logout` end all its sessions. Raises what `failures_told` tells."""

    async def reset(accounts: Accounts) -> UserId:
        user_id = _user_id(accounts, name)
        await accounts.password_change.reset(user_id, password, logout_devices=logout, actor=COMMAND_LINE)
        return user_id

    return _with_accounts(config, server_name, reset)


def list_users(config: Path, *, server_name: str | None) -> list[User]:
    """All accounts, in the order of their user ids. Raises what `failures_told` tells."""

    async def read(accounts: Accounts) -> list[User]:
        users: list[User] = []
        while page := await accounts.directory.list(after=users[-1].user_id if users else "", limit=USERS_PER_PAGE):
            users += page
        return users

    return _with_accounts(config, server_name, read)


def _user_id(accounts: Accounts, name: str) -> UserId:
    """`name` is a localpart, or a whole user id of this server."""
    if not name.startswith("@"):
        return accounts.creation.user_id_of(name)
    try:
        user_id = UserId.parse(name)
    except InvalidIdentifier:
        raise CommandFailed(f"{name!r} is not a user id") from None
    if user_id.server_name != accounts.creation.server_name:
        raise CommandFailed(f"{name} is not a user of {accounts.creation.server_name}")
    return user_id


def _with_accounts(config: Path, server_name: str | None, work: Callable[[Accounts], Awaitable[T]]) -> T:
    settings = load_settings(config)
    index = settings.tenants.index(choose_tenant(settings, server_name))

    async def run(tenant: TenantSettings) -> T:
        async with _open_accounts(tenant) as accounts:
            return await work(accounts)

    with open_databases(settings) as databases:
        return asyncio.run(run(databases.settings.tenants[index]))


def choose_tenant(settings: Settings, server_name: str | None) -> TenantSettings:
    """The homeserver of that name, or the only one; raises what `failures_told` tells."""
    names = ", ".join(tenant.server_name for tenant in settings.tenants)
    if server_name is None:
        if len(settings.tenants) > 1:
            raise CommandFailed(f"say which homeserver with --server-name: {names}")
        return settings.tenants[0]
    for tenant in settings.tenants:
        if tenant.server_name == server_name:
            return tenant
    raise CommandFailed(f"there is no homeserver {server_name}, only {names}")


@asynccontextmanager
async def _open_accounts(tenant: TenantSettings) -> AsyncIterator[Accounts]:
    dsn, direct_dsn = tenant.database.dsn, tenant.database.direct_dsn
    if dsn is None:
        raise CommandFailed(f"no database is known for {tenant.server_name}")
    direct = (direct_dsn or dsn).get_secret_value()
    await migrate(direct)
    store = await open_store(DatabaseOptions(dsn=direct, pool_size_max=2), make_codec(tenant.sealing.key_bytes))
    try:
        yield _accounts(tenant, store)
    finally:
        await store.close()


def _accounts(tenant: TenantSettings, store: Store) -> Accounts:
    hashing = PasswordHashing(policy=_password_policy(tenant.passwords), randomness=secrets.token_bytes)
    token_cache = TokenCache(entries_max=1)
    password_check = PasswordCheck(
        database=store.database, writer=store.writer, clock=_now_ms, hashing=hashing, policy=AttemptPolicy()
    )
    interactive_auth = InteractiveAuth(
        server_name=tenant.server_name,
        database=store.database,
        clock=_now_ms,
        randomness=secrets.token_bytes,
        password_check=password_check,
        policy=UiaPolicy(),
    )
    return Accounts(
        hashing=hashing,
        creation=AccountCreation(
            server_name=tenant.server_name,
            database=store.database,
            writer=store.writer,
            codec=store.codec,
            clock=_now_ms,
            randomness=secrets.token_bytes,
            policy=TokenPolicy(),
        ),
        password_change=PasswordChange(
            writer=store.writer, token_cache=token_cache, clock=_now_ms, hashing=hashing, uia=interactive_auth
        ),
        directory=AccountDirectory(
            database=store.database, writer=store.writer, token_cache=token_cache, clock=_now_ms
        ),
    )


def _password_policy(settings: PasswordSettings) -> PasswordPolicy:
    return PasswordPolicy(
        length_min=settings.length_min,
        size_bytes_max=settings.size_bytes_max,
        memory_kib=settings.argon2_memory_kib,
        time_cost=settings.argon2_time_cost,
        parallelism=settings.argon2_parallelism,
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
