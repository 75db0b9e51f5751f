"""User-interactive authentication: an operation asks for stages, a client completes them one request at a time.

Spec: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tim_server.matrix.errors import (
    BadJson,
    Forbidden,
    InteractiveAuthRequired,
    MatrixError,
    MissingParam,
    UnauthorizedForbidden,
)
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.accounts.check_password import PasswordCheck
from tim_server.services.accounts.identify import identified_users
from tim_server.services.accounts.policy import Clock, Randomness, UiaPolicy
from tim_server.storage.database import Connection, Database
from tim_server.storage.registration_tokens import find_registration_token, lock_registration_token
from tim_server.storage.uia_sessions import UiaSession, complete_stage, find_session, insert_session

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"
REGISTRATION_TOKEN = "m.login.registration_token"

Flow = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What needs authentication: its name, who asks for it (None: nobody is logged in), and the flows that will do.
    A session that begins with this request keeps its `parameters`, sealed."""

    name: str
    flows: tuple[Flow, ...]
    user_id: UserId | None = None
    parameters: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractiveAuth:
    """Keeps sessions as rows, so that any process may go on with them."""

    server_name: ServerName
    database: Database
    clock: Clock
    randomness: Randomness
    password_check: PasswordCheck
    policy: UiaPolicy

    async def authenticate(self, operation: Operation, auth: Mapping[str, Any] | None) -> str | None:
        """Take the request's `auth` as the next step; return when a flow is complete.

        Returns the session to consume in the transaction that carries out the operation, or None where one request
        said it all. Raises `InteractiveAuthRequired` while stages are missing or an attempt fails, `Forbidden` for a
        session of another operation, and `LimitExceeded` after too many wrong passwords.
        """
        session = await self._session(operation, auth)
        stage = auth.get("type") if auth else None
        if auth is None or stage is None or stage in session.completed:
            if _is_complete(operation, session.completed):
                return session.session_id
            raise await self._challenge(operation, session)
        if not any(_next_stage(flow, session.completed) == stage for flow in operation.flows):
            raise await self._challenge(operation, session, Forbidden("This is not the next stage of any flow"))
        try:
            session = await self._attempt(operation, session, auth)
        except (Forbidden, UnauthorizedForbidden, BadJson, MissingParam) as failure:
            raise await self._challenge(operation, session, failure) from None
        if not _is_complete(operation, session.completed):
            raise await self._challenge(operation, session)
        return session.session_id or None

    async def _session(self, operation: Operation, auth: Mapping[str, Any] | None) -> UiaSession:
        """The session that the client names; a blank one (without an id) where it names none that runs."""
        now = self.clock()
        session_id = auth.get("session") if auth else None
        if isinstance(session_id, str):
            async with self.database.connection() as connection:
                found = await find_session(connection, session_id, now=now)
            if found is not None:
                if (found.operation, found.user_id) != (operation.name, operation.user_id):
                    raise Forbidden("This session belongs to another operation")
                return found
        return UiaSession(
            session_id="",
            operation=operation.name,
            user_id=operation.user_id,
            completed=(),
            registration_token=None,
            expires_ts=now + self.policy.session_lifetime_ms,
            parameters=operation.parameters,
        )

    async def _attempt(self, operation: Operation, session: UiaSession, auth: Mapping[str, Any]) -> UiaSession:
        """The session with one more stage completed; raises what the client did wrong."""
        stage: str = auth["type"]
        if stage == PASSWORD:
            await self._check_password(operation, auth)
        advanced = replace(session, completed=(*session.completed, stage))
        if stage == REGISTRATION_TOKEN:
            advanced = replace(advanced, registration_token=_string(auth, "token"))
        if not session.session_id and stage != REGISTRATION_TOKEN and _is_complete(operation, advanced.completed):
            return advanced
        async with self.database.transaction() as tx:
            if stage == REGISTRATION_TOKEN:
                await self._check_registration_token(tx, _string(auth, "token"))
            if not session.session_id:
                return await self._begin(tx, advanced)
            if not await complete_stage(tx, session, stage, registration_token=advanced.registration_token):
                raise Forbidden("Another request has moved this session on")
        return advanced

    async def _check_password(self, operation: Operation, auth: Mapping[str, Any]) -> None:
        user_ids = identified_users(auth, self.server_name)
        if operation.user_id not in user_ids:
            raise UnauthorizedForbidden("The account is not the one that is logged in")
        user = await self.password_check.check(user_ids, _string(auth, "password"))
        if user is None or user.user_id != operation.user_id:
            raise UnauthorizedForbidden("The user name or password is wrong")

    async def _check_registration_token(self, tx: Connection, token: str) -> None:
        """Hold the token's row, so that sessions get its last use one after the other."""
        await lock_registration_token(tx, token)
        now = self.clock()
        found = await find_registration_token(tx, token, now=now)
        if found is None or not found.is_valid(now):
            raise UnauthorizedForbidden("The registration token is not valid")

    async def _begin(self, tx: Connection, session: UiaSession) -> UiaSession:
        begun = replace(session, session_id=base64.urlsafe_b64encode(self.randomness(18)).decode())
        await insert_session(tx, begun, now=self.clock())
        return begun

    async def _challenge(
        self, operation: Operation, session: UiaSession, failure: MatrixError | None = None
    ) -> InteractiveAuthRequired:
        if not session.session_id:
            async with self.database.transaction() as tx:
                session = await self._begin(tx, session)
        fields: dict[str, Any] = {
            "flows": [{"stages": list(flow)} for flow in operation.flows],
            "params": {},
            "session": session.session_id,
            "completed": list(session.completed),
        }
        return InteractiveAuthRequired(failure=failure, **fields)


def _next_stage(flow: Flow, completed: tuple[str, ...]) -> str | None:
    """The stage that follows in this flow; None where the completed ones are not its beginning, or are all of it."""
    if flow[: len(completed)] != completed or len(flow) == len(completed):
        return None
    return flow[len(completed)]


def _is_complete(operation: Operation, completed: tuple[str, ...]) -> bool:
    return completed in operation.flows


def _string(auth: Mapping[str, Any], key: str) -> str:
    value = auth.get(key)
    if value is None:
        raise MissingParam(f"auth.{key} is missing")
    if not isinstance(value, str):
        raise BadJson(f"auth.{key} must be a string")
    return value
