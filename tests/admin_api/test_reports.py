"""Reports as administrators read them, decide on them and remove them; each look and decision is audited."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.conftest import AuditRows
from tests.people import Hospital, Person
from tests.table_dump import open_tables

REPORTS = "/_tim-server/admin/v1/reports"
EVENT_REPORTS = "/_synapse/admin/v1/event_reports"


async def reported_event(hospital: Hospital, text: str = "rude") -> dict[str, Any]:
    """An event that Bob has reported, and what there is to know of it."""
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(name="Ward 3")
    await bob.join(room_id)
    event_id = await alice.say(room_id, text)
    await bob.post(f"rooms/{room_id}/report/{event_id}", {"reason": "this makes me sad", "score": -50})
    return {"alice": alice, "bob": bob, "room_id": room_id, "event_id": event_id}


async def newest(admin: Person, **query: Any) -> dict[str, Any]:
    """The newest report."""
    report: dict[str, Any] = (await admin.get(REPORTS, limit=1, **query))["reports"][0]
    return report


async def test_an_administrator_reads_what_was_reported(administered: Hospital, admin: Person) -> None:
    known = await reported_event(administered)
    report = await newest(admin)
    assert report == {
        "report_id": report["report_id"],
        "kind": "event",
        "status": "open",
        "reporter": known["bob"].user_id,
        "received_ts": report["received_ts"],
        "reason": "this makes me sad",
        "score": -50,
        "room_id": known["room_id"],
        "room_name": "Ward 3",
        "room_alias": None,
        "event_id": known["event_id"],
        "user_id": known["alice"].user_id,
        "decided_by": None,
        "decided_ts": None,
        "note": None,
    }
    whole = await admin.get(f"{REPORTS}/{report['report_id']}")
    event = whole.pop("event")
    assert whole == report
    assert (event["event_id"], event["content"]["body"]) == (known["event_id"], "rude")
    await known["alice"].put(f"rooms/{known['room_id']}/redact/{known['event_id']}/1", {})
    assert (await admin.get(f"{REPORTS}/{report['report_id']}"))["event"]["content"] == {}


async def test_rooms_and_users_are_reported_too(administered: Hospital, admin: Person) -> None:
    alice, bob = await administered.person(), await administered.person()
    room_id = await alice.create_room()
    await bob.post(f"rooms/{room_id}/report", {"reason": "a bad room"})
    report = await newest(admin, kind="room")
    assert (report["room_id"], report["event_id"], report["user_id"], report["reason"]) == (
        room_id,
        None,
        None,
        "a bad room",
    )
    await bob.post(f"users/{quote(alice.user_id)}/report", {"reason": "a bad user"})
    report = await newest(admin, kind="user")
    assert (report["room_id"], report["user_id"], report["reason"]) == (None, alice.user_id, "a bad user")
    assert "event" not in await admin.get(f"{REPORTS}/{report['report_id']}")


async def test_a_report_is_resolved_and_opened_again(
    administered: Hospital, admin: Person, audit_rows: AuditRows
) -> None:
    await reported_event(administered)
    report_id = (await newest(admin, status_="open"))["report_id"]
    path = f"{REPORTS}/{report_id}"
    await audit_rows.news()
    assert await admin.put(f"{path}/decision", {"status": "resolved", "note": "Spoke to them"}) == {}
    report = await admin.get(path)
    assert (report["status"], report["note"], report["decided_by"]) == ("resolved", "Spoke to them", admin.user_id)
    assert report["decided_ts"] >= report["received_ts"]
    assert report_id not in [found["report_id"] for found in (await admin.get(REPORTS, status_="open"))["reports"]]
    await admin.put(f"{path}/decision", {"status": "open"})
    assert (await newest(admin, status_="open"))["report_id"] == report_id
    assert await audit_rows.news() == [
        (admin.user_id, "report.resolve", str(report_id)),
        (admin.user_id, "report.read", str(report_id)),
        (admin.user_id, "report.list", "reports"),
        (admin.user_id, "report.open", str(report_id)),
        (admin.user_id, "report.list", "reports"),
    ]


async def test_a_report_is_removed(administered: Hospital, admin: Person, audit_rows: AuditRows) -> None:
    for api, key in ((REPORTS, "report_id"), (EVENT_REPORTS, "id")):
        await reported_event(administered)
        answer = await admin.get(api, limit=1)
        report_id = (answer.get("reports") or answer["event_reports"])[0][key]
        await audit_rows.news()
        assert await admin.expect(200, "DELETE", f"{api}/{report_id}") == {}
        await admin.refused(404, "M_NOT_FOUND", "GET", f"{api}/{report_id}")
        await admin.refused(404, "M_NOT_FOUND", "DELETE", f"{api}/{report_id}")
        assert await audit_rows.news() == [(admin.user_id, "report.delete", str(report_id))]


async def test_paging(administered: Hospital, admin: Person) -> None:
    for _ in range(3):
        await reported_event(administered)
    total = (await admin.get(REPORTS, kind="event"))["total"]
    found: list[int] = []
    start = None
    while True:
        page = await admin.get(REPORTS, kind="event", limit=2, from_=start)
        assert page["total"] == total
        found += [report["report_id"] for report in page["reports"]]
        start = page.get("next_batch")
        if start is None:
            break
    assert found == sorted(found, reverse=True)
    assert len(found) == total >= 3


async def test_existing_tools_read_reports_of_events(administered: Hospital, admin: Person) -> None:
    known = await reported_event(administered)
    await known["bob"].post(f"rooms/{known['room_id']}/report", {"reason": "no event"})
    page = await admin.get(EVENT_REPORTS, limit=1)
    assert page["total"] >= 1
    (report,) = page["event_reports"]
    assert report == {
        "id": report["id"],
        "received_ts": report["received_ts"],
        "room_id": known["room_id"],
        "name": "Ward 3",
        "canonical_alias": None,
        "event_id": known["event_id"],
        "user_id": known["bob"].user_id,
        "reason": "this makes me sad",
        "score": -50,
        "sender": known["alice"].user_id,
    }
    whole = await admin.get(f"{EVENT_REPORTS}/{report['id']}")
    assert whole.pop("event_json")["event_id"] == known["event_id"]
    assert whole == report
    room_report = await newest(admin, kind="room")
    await admin.refused(404, "M_NOT_FOUND", "GET", f"{EVENT_REPORTS}/{room_report['report_id']}")
    await admin.refused(404, "M_NOT_FOUND", "DELETE", f"{EVENT_REPORTS}/{room_report['report_id']}")


async def test_existing_tools_page_and_filter(administered: Hospital, admin: Person) -> None:
    known = await reported_event(administered)
    other = await reported_event(administered)
    for query in (
        {"user_id": known["bob"].user_id},
        {"room_id": known["room_id"]},
        {"event_sender_user_id": known["alice"].user_id},
    ):
        page = await admin.get(EVENT_REPORTS, **query)
        assert [report["event_id"] for report in page["event_reports"]] == [known["event_id"]]
        assert page["total"] == 1 and "next_token" not in page
    total = (await admin.get(EVENT_REPORTS))["total"]
    found: list[str] = []
    start: int | None = 0
    while start is not None:
        page = await admin.get(EVENT_REPORTS, limit=1, from_=start, dir="f")
        found += [report["event_id"] for report in page["event_reports"]]
        start = page.get("next_token")
    assert len(found) == total
    assert found[-2:] == [known["event_id"], other["event_id"]]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", REPORTS, None),
        ("GET", f"{REPORTS}/1", None),
        ("PUT", f"{REPORTS}/1/decision", {"status": "resolved"}),
        ("DELETE", f"{REPORTS}/1", None),
        ("GET", EVENT_REPORTS, None),
        ("GET", f"{EVENT_REPORTS}/1", None),
        ("DELETE", f"{EVENT_REPORTS}/1", None),
    ],
)
async def test_only_administrators_may(
    administered: Hospital, tenant_dsn: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    bob = await administered.person()
    async with open_tables(tenant_dsn) as tables, tables.unchanged():
        await bob.refused(403, "M_FORBIDDEN", method, path, body)


@pytest.mark.parametrize("report_id", ["0", "-1", "x", "9" * 30, "1.5", "²"])
async def test_reports_that_are_not_there(admin: Person, report_id: str) -> None:
    for api in (REPORTS, EVENT_REPORTS):
        for method in ("GET", "DELETE"):
            await admin.refused(404, "M_NOT_FOUND", method, f"{api}/{quote(report_id)}")
    decision = {"status": "resolved"}
    await admin.refused(404, "M_NOT_FOUND", "PUT", f"{REPORTS}/{quote(report_id)}/decision", decision)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (400, "M_MISSING_PARAM")),
        ({"status": "ignored"}, (400, "M_INVALID_PARAM")),
        ({"status": "resolved", "note": 1}, (400, "M_BAD_JSON")),
        ({"status": "resolved", "note": "x" * 10_001}, (413, "M_TOO_LARGE")),
    ],
)
async def test_decisions_of_the_wrong_form(
    administered: Hospital, admin: Person, body: dict[str, Any], expected: tuple[int, str]
) -> None:
    await reported_event(administered)
    report = await newest(admin)
    await admin.refused(*expected, "PUT", f"{REPORTS}/{report['report_id']}/decision", body)
    assert (await newest(admin))["status"] == "open"


@pytest.mark.parametrize("query", [{"status_": "x"}, {"kind": "x"}, {"limit": 0}, {"from_": -1}, {"from_": 2**63}])
async def test_queries_of_the_wrong_form(admin: Person, query: dict[str, Any]) -> None:
    await admin.refused(400, "M_INVALID_PARAM", "GET", REPORTS, **query)
