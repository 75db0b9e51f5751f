"""The account half of a homeserver on a real store, with a clock that stands still until a test moves it.

Hashing is cheap here; everything else has its defaults unless a test says otherwise.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.account_data.keep import AccountData, AccountDataPolicy
from tim_server.services.accounts.authenticator import Authenticator
from tim_server.services.accounts.change_password import PasswordChange
from tim_server.services.accounts.check_password import PasswordCheck
from tim_server.services.accounts.create_account import AccountCreation, NewAccount
from tim_server.services.accounts.deactivate import Deactivation
from tim_server.services.accounts.directory import AccountDirectory
from tim_server.services.accounts.identify import identified_users
from tim_server.services.accounts.login import Login
from tim_server.services.accounts.logout import Logout
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import (
    AttemptPolicy,
    PasswordPolicy,
    RegistrationPolicy,
    TokenPolicy,
    UiaPolicy,
)
from tim_server.services.accounts.refresh import Refresh
from tim_server.services.accounts.register import Registration
from tim_server.services.accounts.registration_tokens import RegistrationTokens
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.shared_secret import SharedSecretRegistration
from tim_server.services.accounts.token_cache import TokenCache
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.services.accounts.uia import InteractiveAuth
from tim_server.services.discovery import Capabilities, WellKnown
from tim_server.services.filters.define import FilterPolicy, Filters
from tim_server.services.profile.change import ProfileChange
from tim_server.services.profile.fields import ProfilePolicy
from tim_server.services.profile.read import ProfileReader
from tim_server.storage.audit_log import COMMAND_LINE
from tim_server.storage.store import Store

SERVER_NAME = ServerName("hospital.example")
PASSWORD = "correct horse battery"
SECRET = "the shared secret"
CHEAP = PasswordPolicy(memory_kib=64, time_cost=1)


@dataclass(slots=True)
class Clock:
    """Milliseconds; moves only when a test says so."""

    now: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What tests vary."""

    registration: RegistrationPolicy = field(default_factory=lambda: RegistrationPolicy(enabled=True))
    passwords: PasswordPolicy = CHEAP
    attempts: AttemptPolicy = field(default_factory=AttemptPolicy)
    tokens: TokenPolicy = field(default_factory=TokenPolicy)
    uia: UiaPolicy = field(default_factory=UiaPolicy)
    profile: ProfilePolicy = field(default_factory=ProfilePolicy)
    account_data: AccountDataPolicy = field(default_factory=AccountDataPolicy)
    filters: FilterPolicy = field(default_factory=FilterPolicy)
    shared_secret: str | None = SECRET
    well_known: WellKnown = field(default_factory=WellKnown)


class AccountServices(SimpleNamespace):
    """The services by the names that they have in `Homeserver`, and what tests need beside them."""

    def __init__(self, store: Store, policies: Policies | None = None, clock: Clock | None = None) -> None:
        policies = policies or Policies()
        clock = clock or Clock()
        super().__init__(server_name=SERVER_NAME, store=store, clock=clock, propagated=[], left=[])
        self.token_cache = TokenCache(policies.tokens.cache_entries_max)
        store.commit_log.subscribe(self.token_cache.on_commit)
        shared: dict[str, Any] = {"clock": clock, "randomness": os.urandom}
        self.hashing = PasswordHashing(policy=policies.passwords, randomness=os.urandom)
        self.password_check = PasswordCheck(
            database=store.database, writer=store.writer, clock=clock, hashing=self.hashing, policy=policies.attempts
        )
        self.uia = InteractiveAuth(
            server_name=SERVER_NAME,
            database=store.database,
            password_check=self.password_check,
            policy=policies.uia,
            **shared,
        )
        self.accounts = AccountCreation(
            server_name=SERVER_NAME,
            database=store.database,
            writer=store.writer,
            codec=store.codec,
            policy=policies.tokens,
            **shared,
        )
        self._add_sessions(store, policies, shared)
        self._add_registration(store, policies, shared)
        self._add_user_data(store, policies)

    def _add_sessions(self, store: Store, policies: Policies, shared: dict[str, Any]) -> None:
        tokens = {"writer": store.writer, "token_cache": self.token_cache}
        self.authenticator = Authenticator(database=store.database, clock=self.clock, policy=policies.tokens, **tokens)
        self.login = Login(
            codec=store.codec, password_check=self.password_check, policy=policies.tokens, **tokens, **shared
        )
        self.logout = Logout(**tokens)
        self.refresh = Refresh(database=store.database, policy=policies.tokens, **tokens, **shared)
        self.password_change = PasswordChange(clock=self.clock, hashing=self.hashing, uia=self.uia, **tokens)
        self.deactivation = Deactivation(clock=self.clock, uia=self.uia, leave_rooms=self._record(self.left), **tokens)
        self.account_directory = AccountDirectory(database=store.database, clock=self.clock, **tokens)

    def _add_registration(self, store: Store, policies: Policies, shared: dict[str, Any]) -> None:
        self.registration = Registration(
            database=store.database,
            codec=store.codec,
            clock=self.clock,
            accounts=self.accounts,
            login=self.login,
            hashing=self.hashing,
            uia=self.uia,
            authenticator=self.authenticator,
            policy=policies.registration,
        )
        self.registration_tokens = RegistrationTokens(database=store.database, policy=policies.registration, **shared)
        self.shared_secret_registration = SharedSecretRegistration(
            secret=policies.shared_secret,
            database=store.database,
            hashing=self.hashing,
            accounts=self.accounts,
            **shared,
        )

    def _add_user_data(self, store: Store, policies: Policies) -> None:
        self.profile_reader = ProfileReader(
            server_name=SERVER_NAME, database=store.database, codec=store.codec, policy=policies.profile
        )
        self.profile_change = ProfileChange(
            writer=store.writer, codec=store.codec, policy=policies.profile, propagate=self._record(self.propagated)
        )
        self.account_data = AccountData(
            database=store.database, writer=store.writer, codec=store.codec, policy=policies.account_data
        )
        self.filters = Filters(database=store.database, policy=policies.filters)
        self.well_known = policies.well_known
        self.capabilities = Capabilities(
            password_change_allowed=policies.passwords.change_allowed,
            default_room_version="12",
            profile=policies.profile,
        )

    @staticmethod
    def _record(calls: list[UserId]) -> Callable[[UserId], Any]:
        async def record(user_id: UserId) -> None:
            calls.append(user_id)

        return record

    async def make_user(self, name: str, *, session: SessionRequest | None = None, **fields: Any) -> IssuedTokens:
        """A new account with `PASSWORD`, and the tokens of its first session."""
        account = NewAccount(
            user_id=self.accounts.user_id_of(name),
            password_hash=await self.hashing.hash(PASSWORD),
            actor=COMMAND_LINE,
            session=session or SessionRequest(),
        )
        tokens: IssuedTokens | None = await self.accounts.create(replace(account, **fields))
        assert tokens is not None
        return tokens

    async def make_requester(self, name: str) -> Requester:
        """A new account, logged in."""
        requester: Requester = await self.authenticator.requester((await self.make_user(name)).access_token)
        return requester

    async def log_in(self, name: str, password: str = PASSWORD, **session: Any) -> IssuedTokens:
        """Log in by name and password."""
        user_ids = identified_users({"user": name}, SERVER_NAME)
        tokens: IssuedTokens = await self.login.with_password(user_ids, password, SessionRequest(**session))
        return tokens


def shared_secret_mac(secret: str, *parts: str) -> str:
    """What a tool that knows the secret sends as `mac`."""
    return hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()
