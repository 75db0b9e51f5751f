"""Administrative acts on accounts stand in the audit log, exactly if they were done."""

import hashlib
from typing import Any

import pytest

from tests.account_services import PASSWORD, AccountServices, shared_secret_mac
from tim_server.matrix.errors import Forbidden, InvalidParam, MatrixError, NotFound, UserInUse
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.register import RegistrationRequest
from tim_server.services.accounts.shared_secret import SharedSecretRequest
from tim_server.storage.audit_log import COMMAND_LINE, REGISTRATION, SHARED_SECRET
from tim_server.storage.store import Store

ADMIN = "@admin:hospital.example"
NOBODY = UserId("@nobody:hospital.example")
NEW_PASSWORD = "another long password"

Row = tuple[str, str, str, str]


class AuditLog:
    """The rows that came since it was last asked, as (actor, action, object, outcome)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = 0

    async def news(self) -> list[Row]:
        async with self._store.database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM audit_log WHERE nid > $1 ORDER BY nid", self._seen)
        self._seen = max([self._seen, *(row["nid"] for row in rows)])
        return [(row["actor"], row["action"], row["object"], row["outcome"]) for row in rows]


@pytest.fixture
async def audit_log(store: Store) -> AuditLog:
    """The audit log from now on."""
    log = AuditLog(store)
    await log.news()
    return log


def proof(name: str) -> dict[str, Any]:
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": PASSWORD,
    }


async def register(services: AccountServices, username: str) -> str:
    token = (await services.registration_tokens.create(actor=COMMAND_LINE)).token
    auth: dict[str, Any] = {"type": "m.login.registration_token", "token": token}
    request = RegistrationRequest(username=username, password=PASSWORD, session=None, auth=auth)
    try:
        registered = await services.registration.register(request)
    except MatrixError as error:
        auth = {"type": "m.login.dummy", "session": error.body()["session"]}
        request = RegistrationRequest(username=username, password=PASSWORD, session=None, auth=auth)
        registered = await services.registration.register(request)
    return str(registered.user_id)


async def test_a_registration(account_services: AccountServices, audit_log: AuditLog) -> None:
    user_id = await register(account_services, "registered")
    (made_token, made_account) = await audit_log.news()
    assert made_token[1] == "registration_token.create"
    assert made_account == (REGISTRATION, "user.create", user_id, "done")


async def test_an_account_from_the_command_line(account_services: AccountServices, audit_log: AuditLog) -> None:
    tokens = await account_services.make_user("made-here", is_admin=True)
    assert await audit_log.news() == [
        (COMMAND_LINE, "user.create", tokens.user_id, "done"),
        (COMMAND_LINE, "user.grant_admin", tokens.user_id, "done"),
    ]
    with pytest.raises(UserInUse):
        await account_services.make_user("made-here", is_admin=True)
    assert await audit_log.news() == []


async def register_with_secret(services: AccountServices, username: str, secret: str) -> None:
    nonce = services.shared_secret_registration.new_nonce()
    await services.shared_secret_registration.register(
        SharedSecretRequest(
            nonce=nonce,
            username=username,
            password=PASSWORD,
            is_admin=False,
            user_type=None,
            display_name=None,
            mac=shared_secret_mac(secret, nonce, username, PASSWORD, "notadmin"),
            session=None,
        )
    )


async def test_the_shared_secret(account_services: AccountServices, audit_log: AuditLog) -> None:
    secret = account_services.shared_secret_registration.secret
    await register_with_secret(account_services, "by-tool", secret)
    assert await audit_log.news() == [(SHARED_SECRET, "user.create", "@by-tool:hospital.example", "done")]


@pytest.mark.parametrize(
    ("username", "named"),
    [("Mallory", "@mallory:hospital.example"), ("not a name\0", "a name that no account can have")],
)
async def test_a_wrong_shared_secret(
    account_services: AccountServices, audit_log: AuditLog, username: str, named: str
) -> None:
    with pytest.raises(Forbidden):
        await register_with_secret(account_services, username, "guessed")
    assert await audit_log.news() == [(SHARED_SECRET, "user.create", named, "refused")]


async def test_a_user_changes_the_password(account_services: AccountServices, audit_log: AuditLog) -> None:
    requester = await account_services.make_requester("changes")
    await audit_log.news()
    with pytest.raises(MatrixError):
        await account_services.password_change.change(requester, NEW_PASSWORD, None, logout_devices=True)
    assert await audit_log.news() == []
    await account_services.password_change.change(requester, NEW_PASSWORD, proof("changes"), logout_devices=True)
    assert await audit_log.news() == [(requester.user_id, "user.change_password", requester.user_id, "done")]


async def test_an_administrator_resets_a_password(account_services: AccountServices, audit_log: AuditLog) -> None:
    user_id = (await account_services.make_user("forgot")).user_id
    await audit_log.news()
    change = account_services.password_change
    with pytest.raises(Forbidden):
        await change.reset(NOBODY, NEW_PASSWORD, logout_devices=True, actor=ADMIN)
    with pytest.raises(MatrixError):
        await change.reset(user_id, "short", logout_devices=True, actor=ADMIN)
    assert await audit_log.news() == []
    await change.reset(user_id, NEW_PASSWORD, logout_devices=True, actor=ADMIN)
    assert await audit_log.news() == [(ADMIN, "user.reset_password", user_id, "done")]


@pytest.mark.parametrize("erase", [False, True])
async def test_a_user_closes_the_account(account_services: AccountServices, audit_log: AuditLog, erase: bool) -> None:
    name = f"leaves-{erase}".lower()
    requester = await account_services.make_requester(name)
    await audit_log.news()
    await account_services.deactivation.deactivate(requester, proof(name), erase=erase)
    actions = ["user.deactivate", "user.erase"] if erase else ["user.deactivate"]
    assert await audit_log.news() == [(requester.user_id, action, requester.user_id, "done") for action in actions]


async def test_locks_and_suspensions(account_services: AccountServices, audit_log: AuditLog) -> None:
    user_id = (await account_services.make_user("locked")).user_id
    await audit_log.news()
    directory = account_services.account_directory
    for locked in (True, False):
        await directory.set_locked(user_id, locked=locked, actor=ADMIN)
    for suspended in (True, False):
        await directory.set_suspended(user_id, suspended=suspended, actor=ADMIN)
    actions = ["user.lock", "user.unlock", "user.suspend", "user.unsuspend"]
    assert await audit_log.news() == [(ADMIN, action, user_id, "done") for action in actions]
    with pytest.raises(NotFound):
        await directory.set_locked(NOBODY, locked=True, actor=ADMIN)
    with pytest.raises(NotFound):
        await directory.set_suspended(NOBODY, suspended=True, actor=ADMIN)
    assert await audit_log.news() == []


async def test_registration_tokens_are_named_by_a_fingerprint(
    account_services: AccountServices, audit_log: AuditLog
) -> None:
    tokens = account_services.registration_tokens
    await tokens.create("ward-9", actor=ADMIN)
    fingerprint = hashlib.sha256(b"ward-9").hexdigest()[:12]
    assert await audit_log.news() == [(ADMIN, "registration_token.create", fingerprint, "done")]
    with pytest.raises(InvalidParam):
        await tokens.create("ward-9", actor=ADMIN)
    assert await audit_log.news() == []
    assert await tokens.delete("ward-9", actor=ADMIN)
    assert not await tokens.delete("ward-9", actor=ADMIN)
    assert await audit_log.news() == [(ADMIN, "registration_token.delete", fingerprint, "done")]
