"""The services of accounts: registration, sessions, profiles, account data, filters."""

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.app.cache_budget import ACCESS_TOKENS
from tim_server.app.devices import device_services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.config.settings import TenantSettings
from tim_server.services.account_data.keep import AccountData, AccountDataPolicy
from tim_server.services.account_data.tags import RoomTags
from tim_server.services.accounts.authenticator import Authenticator
from tim_server.services.accounts.change_password import PasswordChange
from tim_server.services.accounts.check_password import PasswordCheck
from tim_server.services.accounts.create_account import AccountCreation
from tim_server.services.accounts.deactivate import Deactivation
from tim_server.services.accounts.directory import AccountDirectory
from tim_server.services.accounts.login import Login
from tim_server.services.accounts.logout import Logout
from tim_server.services.accounts.openid import OpenIdTokens
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
from tim_server.services.accounts.shared_secret import SharedSecretRegistration
from tim_server.services.accounts.token_cache import TokenCache
from tim_server.services.accounts.uia import InteractiveAuth
from tim_server.services.discovery import Capabilities, WellKnown
from tim_server.services.filters.define import FilterPolicy, Filters
from tim_server.services.profile.change import ProfileChange
from tim_server.services.profile.fields import ProfilePolicy
from tim_server.services.profile.read import ProfileReader
from tim_server.services.profile.remote import RemoteProfiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Some of a homeserver's services by field of `Homeserver`, what they do all the time and when it stops."""

    fields: dict[str, Any]
    closers: Sequence[Callable[[], Awaitable[None]]] = ()
    loops: Sequence[Loop] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What the services of accounts share among themselves."""

    tokens: TokenPolicy
    token_cache: TokenCache
    hashing: PasswordHashing
    password_check: PasswordCheck
    uia: InteractiveAuth
    creation: AccountCreation
    registration: RegistrationPolicy
    profile: ProfilePolicy


def account_services(parts: Parts) -> Services:
    """Build them over the store."""
    shared = _make_shared(parts)
    parts.store.commit_log.subscribe(shared.token_cache.on_commit)
    parts.store.writer.on_restored.append(shared.token_cache.drop_all)

    async def stop_hashing() -> None:
        shared.hashing.close()

    sessions = _sessions(parts, shared)
    return Services(
        fields=sessions
        | _registrations(parts, shared, sessions)
        | _belongings(parts, shared)
        | device_services(parts, shared.token_cache, shared.uia),
        closers=(stop_hashing,),
    )


def _make_shared(parts: Parts) -> _Shared:
    store, tenant = parts.store, parts.tenant
    tokens = TokenPolicy(
        lifetime_ms=tenant.tokens.lifetime_ms,
        refreshable_lifetime_ms=tenant.tokens.refreshable_lifetime_ms,
        refresh_token_lifetime_ms=tenant.tokens.refresh_token_lifetime_ms,
        devices_per_user_max=tenant.tokens.devices_per_user_max,
        cache_entries_max=parts.budget.entries_max(ACCESS_TOKENS),
    )
    hashing = PasswordHashing(policy=_password_policy(tenant), randomness=secrets.token_bytes)
    password_check = PasswordCheck(
        database=store.database,
        writer=store.writer,
        clock=now_ms,
        hashing=hashing,
        policy=AttemptPolicy(failures_max=tenant.passwords.attempts_max, window_ms=tenant.passwords.attempts_window_ms),
    )
    return _Shared(
        tokens=tokens,
        token_cache=TokenCache(tokens.cache_entries_max),
        hashing=hashing,
        password_check=password_check,
        uia=InteractiveAuth(
            server_name=tenant.server_name,
            database=store.database,
            clock=now_ms,
            randomness=secrets.token_bytes,
            password_check=password_check,
            policy=UiaPolicy(session_lifetime_ms=tenant.tokens.interactive_session_lifetime_ms),
        ),
        creation=AccountCreation(
            server_name=tenant.server_name,
            database=store.database,
            writer=store.writer,
            codec=store.codec,
            clock=now_ms,
            randomness=secrets.token_bytes,
            policy=tokens,
        ),
        registration=RegistrationPolicy(
            enabled=tenant.registration.enabled,
            requires_token=tenant.registration.requires_token,
            guests_allowed=tenant.registration.guests_allowed,
        ),
        profile=ProfilePolicy(),
    )


def _password_policy(tenant: TenantSettings) -> PasswordPolicy:
    passwords = tenant.passwords
    return PasswordPolicy(
        length_min=passwords.length_min,
        size_bytes_max=passwords.size_bytes_max,
        memory_kib=passwords.argon2_memory_kib,
        time_cost=passwords.argon2_time_cost,
        parallelism=passwords.argon2_parallelism,
        concurrency_max=passwords.hashing_concurrency_max,
        waiting_max=passwords.hashing_waiting_max,
        change_allowed=passwords.change_allowed,
    )


def _sessions(parts: Parts, shared: _Shared) -> dict[str, Any]:
    store = parts.store
    common: dict[str, Any] = {"writer": store.writer, "token_cache": shared.token_cache}
    return {
        "authenticator": Authenticator(database=store.database, clock=now_ms, policy=shared.tokens, **common),
        "login": Login(
            codec=store.codec,
            clock=now_ms,
            randomness=secrets.token_bytes,
            password_check=shared.password_check,
            policy=shared.tokens,
            **common,
        ),
        "logout": Logout(**common),
        "refresh": Refresh(
            database=store.database, clock=now_ms, randomness=secrets.token_bytes, policy=shared.tokens, **common
        ),
        "password_change": PasswordChange(clock=now_ms, hashing=shared.hashing, uia=shared.uia, **common),
        "deactivation": Deactivation(clock=now_ms, uia=shared.uia, leave_rooms=parts.membership.leave_all, **common),
        "account_directory": AccountDirectory(database=store.database, clock=now_ms, **common),
    }


def _registrations(parts: Parts, shared: _Shared, sessions: Mapping[str, Any]) -> dict[str, Any]:
    secret = parts.tenant.registration.shared_secret
    return {
        "registration": Registration(
            database=parts.store.database,
            codec=parts.store.codec,
            clock=now_ms,
            accounts=shared.creation,
            login=sessions["login"],
            hashing=shared.hashing,
            uia=shared.uia,
            authenticator=sessions["authenticator"],
            policy=shared.registration,
        ),
        "registration_tokens": RegistrationTokens(
            database=parts.store.database, clock=now_ms, randomness=secrets.token_bytes, policy=shared.registration
        ),
        "shared_secret_registration": SharedSecretRegistration(
            secret=None if secret is None else secret.get_secret_value(),
            database=parts.store.database,
            clock=now_ms,
            randomness=secrets.token_bytes,
            hashing=shared.hashing,
            accounts=shared.creation,
        ),
    }


def _belongings(parts: Parts, shared: _Shared) -> dict[str, Any]:
    store, tenant, limits = parts.store, parts.tenant, parts.settings.limits
    account_data = AccountData(
        database=store.database,
        writer=store.writer,
        codec=store.codec,
        policy=AccountDataPolicy(content_bytes_max=limits.account_data_bytes_max),
    )
    return {
        "profile_reader": ProfileReader(
            server_name=tenant.server_name,
            database=store.database,
            codec=store.codec,
            policy=shared.profile,
            fetch_remote=RemoteProfiles(client=parts.federation.client, gate=parts.federation.gate).fetch,
        ),
        "openid_tokens": OpenIdTokens(database=store.database, clock=now_ms, randomness=secrets.token_bytes),
        "profile_change": ProfileChange(
            writer=store.writer, codec=store.codec, policy=shared.profile, propagate=parts.membership.propagate_profile
        ),
        "account_data": account_data,
        "room_tags": RoomTags(account_data=account_data, per_room_max=limits.tags_per_room_max),
        "filters": Filters(database=store.database, policy=FilterPolicy(per_user_max=limits.filters_per_user_max)),
        "well_known": _well_known(tenant),
        "capabilities": Capabilities(
            password_change_allowed=tenant.passwords.change_allowed,
            default_room_version=tenant.rooms.default_version,
            profile=shared.profile,
        ),
    }


def _well_known(tenant: TenantSettings) -> WellKnown:
    told = tenant.well_known
    client = None
    if told.client_base_url is not None:
        base_url = str(told.client_base_url).rstrip("/")
        client = {"m.homeserver": {"base_url": base_url}, **told.client_extra}
    support: dict[str, Any] = {}
    if told.contacts:
        support["contacts"] = [contact.model_dump(exclude_none=True) for contact in told.contacts]
    if told.support_page is not None:
        support["support_page"] = str(told.support_page)
    return WellKnown(client=client, server={"m.server": told.server} if told.server else None, support=support or None)
