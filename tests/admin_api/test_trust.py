"""The trust gate as administrators see it: the directory in force, why a server is let in or not, what was decided."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.circle_of_trust import CircleOfTrust, run_circle
from tests.eventually import eventually
from tests.hospitals import NetworkedHospital
from tests.peer import run_peer
from tests.people import Person
from tim_server.egress.errors import ContactRefused
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.connect import connect

TRUST = "/_tim-server/admin/v1/trust"


@pytest.fixture(scope="module")
async def circle(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CircleOfTrust]:
    folder = tmp_path_factory.mktemp("circle")
    async with run_circle(["a.example"], [tenant_dsn], folder, others=["b.example", "stranger.example"]) as circle:
        yield circle


@pytest.fixture(scope="module")
def hospital(circle: CircleOfTrust) -> NetworkedHospital:
    return circle.hospitals[0]


@pytest.fixture(scope="module")
async def admin(hospital: NetworkedHospital, tenant_dsn: str) -> Person:
    person = await hospital.person("administrator")
    connection = await connect(tenant_dsn)
    await connection.execute("UPDATE users SET is_admin = true WHERE user_id = $1", person.user_id)
    await connection.close()
    return person


async def test_the_directory_in_force_is_shown(circle: CircleOfTrust, admin: Person) -> None:
    status = await admin.get(TRUST)
    directory = status["directory"]
    assert status["profile"] == "directory"
    assert (directory["version"], directory["organisations"], directory["servers"]) == (circle.directory.version, 1, 1)
    assert (directory["state"], directory["alarm"]) == ("fresh", None)
    assert len(directory["signer_sha256"]) == 64 and directory["checked_ts"] >= directory["fetched_ts"]


async def test_an_administrator_has_it_fetched_now(circle: CircleOfTrust, admin: Person) -> None:
    circle.directory.publish("a.example", "b.example")
    status = await admin.post(f"{TRUST}/refresh")
    assert status["directory"]["version"] == circle.directory.version
    circle.directory.is_down = True
    await admin.refused(503, "M_UNKNOWN", "POST", f"{TRUST}/refresh", {})
    status = await admin.get(TRUST)
    assert (status["directory"]["version"], status["directory"]["state"]) == (circle.directory.version, "failing")
    assert "503" in status["directory"]["alarm"]
    circle.directory.is_down = False
    await admin.post(f"{TRUST}/refresh")


async def test_each_step_of_a_decision_is_explained(admin: Person) -> None:
    listed = await admin.get(f"{TRUST}/servers/b.example")
    assert listed["is_allowed"] and [step["looked_at"] for step in listed["steps"]][:3] == [
        "profile",
        "directory",
        "listing",
    ]
    assert "Hospital b.example" in listed["steps"][2]["found"]
    stranger = await admin.get(f"{TRUST}/servers/stranger.example")
    assert (stranger["is_allowed"], stranger["steps"][2]["is_fine"]) == (False, False)
    assert stranger["reason"] == "no directory lists stranger.example"


async def test_members_are_listed_with_what_they_proved(circle: CircleOfTrust, admin: Person) -> None:
    async with run_peer(circle.network, "b.example") as peer:
        assert (await peer.ask("a.example", "GET", "/_matrix/federation/v1/version"))[0] == 200

    async def proved() -> dict[str, Any]:
        return dict(await admin.get(f"{TRUST}/servers"))

    listed = await eventually(proved, lambda page: page["servers"][1]["certificate"])
    a, b = listed["servers"]
    assert (a["server_name"], b["server_name"], b["organisation_name"]) == (
        "a.example",
        "b.example",
        "Hospital b.example",
    )
    certificate = circle.network.circle.certified["b.example"][-1].certificate
    assert b["certificate"]["serial"] == f"{certificate.serial_number:x}"
    assert b["certificate"]["not_after_ts"] == int(certificate.not_valid_after_utc.timestamp() * 1000)
    assert listed["version"] == circle.directory.version
    explained = await admin.get(f"{TRUST}/servers/b.example")
    assert explained["is_allowed"] and b["certificate"]["serial"] in explained["steps"][3]["found"]
    first = await admin.get(f"{TRUST}/servers", limit=1)
    assert [first["servers"][0], first["next_batch"]] == [a, "a.example"]
    assert (await admin.get(f"{TRUST}/servers", from_="a.example"))["servers"] == [b]


async def test_refusals_are_listed(hospital: NetworkedHospital, admin: Person) -> None:
    federation = hospital.process.homeservers[0].federation
    for _ in range(2):
        with pytest.raises(ContactRefused):
            await federation.client.get(ServerName("stranger.example"), "/_matrix/federation/v1/version")

    async def refusals() -> list[dict[str, object]]:
        answer = await admin.get(f"{TRUST}/decisions", server_name="stranger.example", is_allowed="false")
        return list(answer["decisions"])

    (decision,) = await eventually(refusals)
    assert (decision["point"], decision["reason"]) == ("outgoing connection", "no directory lists stranger.example")
    assert decision["times"] == 2
    assert (await admin.get(f"{TRUST}/decisions", point="directory"))["decisions"][0]["is_allowed"]
    page = await admin.get(f"{TRUST}/decisions", limit=1)
    rest = await admin.get(f"{TRUST}/decisions", **{"from_": page["next_batch"]})
    assert page["decisions"][0] not in rest["decisions"] and rest["decisions"]
    await admin.refused(400, "M_INVALID_PARAM", "GET", f"{TRUST}/decisions", **{"from_": "nonsense"})


async def test_only_administrators_are_told(hospital: NetworkedHospital) -> None:
    person = await hospital.person()
    for method, path in (
        ("GET", TRUST),
        ("POST", f"{TRUST}/refresh"),
        ("GET", f"{TRUST}/decisions"),
        ("GET", f"{TRUST}/servers"),
        ("GET", f"{TRUST}/servers/b.example"),
    ):
        await person.refused(403, "M_FORBIDDEN", method, path)


async def test_refusals_are_counted_for_prometheus(hospital: NetworkedHospital) -> None:
    registry = hospital.process.web_server._registry
    assert registry.get_sample_value("tim_trust_refusals_total", {"point": "outgoing connection"})
    assert registry.get_sample_value("tim_trust_directories_expired") == 0
