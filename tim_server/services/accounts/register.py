"""Registration by the users themselves: closed unless the operator opens it.

A client sends the same request once for each stage of the authentication. Some send no more than `auth` after the first
time, so the session remembers the rest; and one that lost the last answer asks again, and gets the account that it has.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tim_server.matrix.errors import Forbidden, GuestAccessForbidden, MissingParam
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.authenticator import Authenticator
from tim_server.services.accounts.create_account import AccountCreation, NewAccount
from tim_server.services.accounts.login import Login
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import Clock, RegistrationPolicy
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.services.accounts.uia import DUMMY, REGISTRATION_TOKEN, InteractiveAuth, Operation
from tim_server.services.accounts.wanted_account import WantedAccount
from tim_server.storage.audit_log import REGISTRATION
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.uia_sessions import MadeAccount, find_earlier_request

OPERATION = "register"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequest:
    """What a client asks for. `session` None is `inhibit_login`; `guest_token` opens the guest's account that is to
    become an ordinary one."""

    username: str | None
    password: str | None
    session: SessionRequest | None
    auth: Mapping[str, Any] | None
    guest_token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The new account, and the tokens of its first session unless login was inhibited."""

    user_id: UserId
    tokens: IssuedTokens | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Registers accounts as the policy allows."""

    database: Database
    codec: Codec
    clock: Clock
    accounts: AccountCreation
    login: Login
    hashing: PasswordHashing
    uia: InteractiveAuth
    authenticator: Authenticator
    policy: RegistrationPolicy

    async def register(self, request: RegistrationRequest) -> Registered:
        """Check the wanted account, then the authentication, then make it.

        Raises `Forbidden` where registration is closed, or for a guest of another name; `InvalidUsername`, `UserInUse`,
        `WeakPassword`, `InvalidParam` before any authentication; `InteractiveAuthRequired` until that is complete;
        `MissingParam` without a password.
        """
        self._check_open()
        kept, made = await self._find_earlier(request)
        if made is not None:
            return await self._repeat(request, made)
        wanted = await self._wanted(request, kept)
        if request.guest_token is not None:
            await self._check_guest(request.guest_token, self.accounts.user_id_of(wanted.username))
        elif wanted.username is not None:
            await self.check_available(wanted.username)
        stages = (REGISTRATION_TOKEN, DUMMY) if self.policy.requires_token else (DUMMY,)
        operation = Operation(name=OPERATION, flows=(stages,), parameters=self.codec.encode(wanted.as_json()))
        uia_session = await self.uia.authenticate(operation, request.auth)
        if wanted.password_hash is None:
            raise MissingParam("password is missing")
        user_id = self.accounts.user_id_of(wanted.username)
        account = NewAccount(
            user_id=user_id,
            password_hash=wanted.password_hash,
            actor=REGISTRATION,
            was_guest=request.guest_token is not None,
            session=wanted.session,
            uia_session=uia_session,
        )
        return Registered(user_id=user_id, tokens=await self.accounts.create(account))

    async def register_guest(self, device_name: str | None) -> Registered:
        """Make a guest's account: without a name, a password or authentication; what opens it is the token alone.

        Raises `GuestAccessForbidden` where there are no guests, and `InvalidParam` for a device name that is too long.
        """
        if not self.policy.guests_allowed:
            raise GuestAccessForbidden("Guest access is disabled on this server")
        account = NewAccount(
            user_id=self.accounts.user_id_of(None),
            password_hash=None,
            actor=REGISTRATION,
            is_guest=True,
            session=SessionRequest(initial_device_display_name=device_name),
        )
        return Registered(user_id=account.user_id, tokens=await self.accounts.create(account))

    async def check_available(self, username: str) -> None:
        """Raise `InvalidUsername` or `UserInUse` unless an account may be given this name, and `Forbidden` where
        registration is closed (so that nobody learns who has an account)."""
        self._check_open()
        await self.accounts.check_available(self.accounts.user_id_of(username))

    def _check_open(self) -> None:
        if not self.policy.enabled:
            raise Forbidden("Registration is closed on this server")

    async def _find_earlier(self, request: RegistrationRequest) -> tuple[bytes | None, MadeAccount | None]:
        session_id = request.auth.get("session") if request.auth else None
        if not isinstance(session_id, str):
            return None, None
        async with self.database.connection() as connection:
            return await find_earlier_request(connection, session_id, OPERATION, now=self.clock())

    async def _check_guest(self, token: str, user_id: UserId) -> None:
        guest = await self.authenticator.requester(token)
        if not guest.is_guest or guest.user_id != user_id:
            raise Forbidden("The guest has another user name")

    async def _repeat(self, request: RegistrationRequest, made: MadeAccount) -> Registered:
        """The account that this session has made already, and new tokens for its device; for whoever knows the
        password, since the session's id alone must not lead into an account."""
        if request.session is None:
            return Registered(user_id=made.user_id, tokens=None)
        if request.password is None:
            raise MissingParam("password is missing")
        session = replace(request.session, device_id=made.device_id)
        tokens = await self.login.with_password([made.user_id], request.password, session)
        return Registered(user_id=made.user_id, tokens=tokens)

    async def _wanted(self, request: RegistrationRequest, kept: bytes | None) -> WantedAccount:
        """What the request asks for; if it says nothing of that, what the session began with."""
        if kept is not None and request.username is None and request.password is None:
            return WantedAccount.from_json(self.codec.decode(kept))
        password_hash = None
        if request.password is not None:
            self.hashing.check_acceptable(request.password)
            password_hash = await self.hashing.hash(request.password)
        return WantedAccount(username=request.username, password_hash=password_hash, session=request.session)
