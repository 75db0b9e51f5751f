"""Registration by the users themselves: closed unless the operator opens it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, MissingParam
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.create_account import AccountCreation, NewAccount
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import RegistrationPolicy
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.services.accounts.uia import DUMMY, REGISTRATION_TOKEN, InteractiveAuth, Operation
from tim_server.storage.audit_log import REGISTRATION

OPERATION = "register"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationRequest:
    """What a client asks for. `session` None is `inhibit_login`."""

    username: str | None
    password: str | None
    session: SessionRequest | None
    auth: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The new account, and the tokens of its first session unless login was inhibited."""

    user_id: UserId
    tokens: IssuedTokens | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """Registers accounts as the policy allows."""

    accounts: AccountCreation
    hashing: PasswordHashing
    uia: InteractiveAuth
    policy: RegistrationPolicy

    async def register(self, request: RegistrationRequest) -> Registered:
        """Check the wanted account, then the authentication, then make it.

        Raises `Forbidden` where registration is closed; `InvalidUsername`, `UserInUse`, `WeakPassword`, `InvalidParam`
        before any authentication; `InteractiveAuthRequired` until that is complete; `MissingParam` without a password.
        """
        self._check_open()
        if request.username is not None:
            await self.check_available(request.username)
        if request.password is not None:
            self.hashing.check_acceptable(request.password)
        stages = (REGISTRATION_TOKEN, DUMMY) if self.policy.requires_token else (DUMMY,)
        uia_session = await self.uia.authenticate(Operation(name=OPERATION, flows=(stages,)), request.auth)
        if request.password is None:
            raise MissingParam("password is missing")
        user_id = self.accounts.user_id_of(request.username)
        account = NewAccount(
            user_id=user_id,
            password_hash=await self.hashing.hash(request.password),
            actor=REGISTRATION,
            session=request.session,
            uia_session=uia_session,
        )
        return Registered(user_id=user_id, tokens=await self.accounts.create(account))

    async def check_available(self, username: str) -> None:
        """Raise `InvalidUsername` or `UserInUse` unless an account may be given this name, and `Forbidden` where
        registration is closed (so that nobody learns who has an account)."""
        self._check_open()
        await self.accounts.check_available(self.accounts.user_id_of(username))

    def _check_open(self) -> None:
        if not self.policy.enabled:
            raise Forbidden("Registration is closed on this server")
