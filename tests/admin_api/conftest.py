"""What tests of the administration APIs share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.account_services import shared_secret_mac
from tests.people import PASSWORD, Hospital, Person, run_hospital
from tim_server.storage.connect import connect

SECRET = "a secret that tools know"


@pytest.fixture(scope="module")
async def administered(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A whole homeserver on which tools can make administrators."""
    registration = {"enabled": True, "requires_token": False, "shared_secret": SECRET}
    folder = tmp_path_factory.mktemp("administered")
    async with run_hospital(tenant_dsn, folder, registration=registration) as hospital:
        yield hospital


@pytest.fixture(scope="module")
async def admin(administered: Hospital) -> Person:
    """An administrator of the server."""
    path = "/_synapse/admin/v1/register"
    async with administered.session.get(path) as response:
        nonce = (await response.json())["nonce"]
    request = {
        "nonce": nonce,
        "username": "administrator",
        "password": PASSWORD,
        "admin": True,
        "mac": shared_secret_mac(SECRET, nonce, "administrator", PASSWORD, "admin"),
    }
    async with administered.session.post(path, json=request) as response:
        answer = await response.json()
        assert response.status == 200, answer
    return Person(administered.session, answer["user_id"], answer["access_token"], answer["device_id"])


class AuditRows:
    """The rows of the audit log that came since it was last asked, as (actor, action, object)."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._seen = 0

    async def news(self) -> list[tuple[str, str, str]]:
        rows = await self._connection.fetch(
            "SELECT nid, actor, action, object FROM audit_log WHERE nid > $1 ORDER BY nid", self._seen
        )
        self._seen = max([self._seen, *(row["nid"] for row in rows)])
        return [(row["actor"], row["action"], row["object"]) for row in rows]


@pytest.fixture
async def audit_rows(tenant_dsn: str) -> AsyncIterator[AuditRows]:
    """The audit log from now on."""
    connection = await connect(tenant_dsn)
    rows = AuditRows(connection)
    await rows.news()
    yield rows
    await connection.close()
