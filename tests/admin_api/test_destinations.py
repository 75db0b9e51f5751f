"""What administrators see of other servers, and trying one again."""

from typing import Any

import pytest

from tests.admin_api.conftest import AuditRows
from tests.people import Hospital, Person
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.connect import connect
from tim_server.storage.destinations import Delivered, Failure, put_delivered, put_failure

PATH = "/_tim-server/admin/v1/federation/destinations"


@pytest.fixture(scope="module", autouse=True)
async def others(administered: Hospital, tenant_dsn: str) -> None:
    """Two servers that work, and one to which sending fails and that is owed three events."""
    connection = await connect(tenant_dsn)
    try:
        delivered = Delivered(ts=1_000, txn_id="1", up_to=None, cursors={"typing": 5})
        await put_delivered(connection, {ServerName(f"{name}.example"): delivered for name in ("b", "d")})
        failure = Failure(since_ts=2_000, failures=3, retry_ts=9_000, problem="answers 502 M_UNKNOWN", cursors={})
        await put_failure(connection, ServerName("c.example"), failure)
        await connection.execute(
            "INSERT INTO federation_outbox SELECT 'c.example', number, number FROM generate_series(1, 3) AS number"
        )
    finally:
        await connection.close()


def body(destination: str, **fields: Any) -> dict[str, Any]:
    working = {"succeeded_ts": 1_000, "failing_since_ts": None, "failures": 0, "retry_ts": None, "problem": None}
    return {"destination": destination, "waiting_events": 0, **working, **fields}


FAILING = body(
    "c.example",
    succeeded_ts=None,
    failing_since_ts=2_000,
    failures=3,
    retry_ts=9_000,
    problem="answers 502 M_UNKNOWN",
    waiting_events=3,
)


async def test_servers_are_listed_page_by_page(admin: Person) -> None:
    page = await admin.get(PATH, limit=2)
    assert page == {"destinations": [body("b.example"), FAILING], "next_batch": "c.example"}
    assert await admin.get(PATH, limit=2, from_=page["next_batch"]) == {"destinations": [body("d.example")]}


async def test_those_to_which_sending_fails_can_be_listed_alone(admin: Person) -> None:
    assert await admin.get(PATH, failing="true") == {"destinations": [FAILING]}


async def test_one_server_can_be_read(admin: Person) -> None:
    assert await admin.get(f"{PATH}/c.example") == FAILING
    await admin.refused(404, "M_NOT_FOUND", "GET", f"{PATH}/never.example")


async def test_a_retry_is_audited(admin: Person, audit_rows: AuditRows) -> None:
    assert await admin.post(f"{PATH}/c.example/retry") == {}
    assert await audit_rows.news() == [(admin.user_id, "destination.retry", "c.example")]
    await admin.refused(404, "M_NOT_FOUND", "POST", f"{PATH}/never.example/retry", {})


async def test_others_may_not(administered: Hospital) -> None:
    alice = await administered.person()
    await alice.refused(403, "M_FORBIDDEN", "GET", PATH)
    await alice.refused(403, "M_FORBIDDEN", "POST", f"{PATH}/c.example/retry", {})
