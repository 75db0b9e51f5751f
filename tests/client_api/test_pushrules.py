"""Push rules over real HTTP: clients read the server's defaults, add rules of their own, and learn of changes by sync.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from typing import Any
from urllib.parse import quote

import pytest

from tests.people import CLIENT, Hospital, Person
from tim_server.matrix.push_rules import RuleKind, default_rules

NOTIFY = {"actions": ["notify"]}
CAKE = {"pattern": "cake*lie", "actions": ["notify", {"set_tweak": "sound", "value": "bing"}]}


@pytest.fixture
async def alice(hospital: Hospital) -> Person:
    """Somebody who has changed no rule yet."""
    return await hospital.person()


def path_of(kind: str, rule_id: str, part: str = "") -> str:
    return f"pushrules/global/{kind}/{quote(rule_id, safe='')}{part}"


async def ids(person: Person, kind: str) -> list[str]:
    """The ids of the person's own rules of a kind, the most important first."""
    rules = (await person.get("pushrules/"))["global"][kind]
    return [rule["rule_id"] for rule in rules if not rule["default"]]


@pytest.mark.parametrize("slash", ["/", ""])
async def test_who_has_changed_nothing_has_the_default_rules(alice: Person, slash: str) -> None:
    rules = default_rules(alice.user_id).as_json()
    assert await alice.get(f"pushrules{slash}") == {"global": rules}
    assert await alice.get(f"pushrules/global{slash}") == rules
    assert set(rules) == {"override", "content", "room", "sender", "underride"}
    invite = next(rule for rule in rules["override"] if rule["rule_id"] == ".m.rule.invite_for_me")
    assert {"kind": "event_match", "key": "state_key", "pattern": alice.user_id} in invite["conditions"]


async def test_each_rule_and_its_parts(alice: Person) -> None:
    for kind, rules in default_rules(alice.user_id).as_json().items():
        assert await alice.get(f"pushrules/global/{kind}/") == rules
        for rule in rules:
            path = path_of(kind, rule["rule_id"])
            assert await alice.get(path) == rule
            assert await alice.get(f"{path}/enabled") == {"enabled": rule["enabled"]}
            assert await alice.get(f"{path}/actions") == {"actions": rule["actions"]}


@pytest.mark.parametrize("part", ["", "/enabled", "/actions"])
@pytest.mark.parametrize(
    ("rule", "status", "errcode"),
    [
        ("override/.m.rule.message", 404, "M_NOT_FOUND"),
        ("room/!ward:hospital.example", 404, "M_NOT_FOUND"),
        ("overrides/.m.rule.master", 400, "M_INVALID_PARAM"),
    ],
)
async def test_rules_that_do_not_exist(alice: Person, rule: str, part: str, status: int, errcode: str) -> None:
    path = f"pushrules/global/{rule}{part}"
    await alice.refused(status, errcode, "GET", path)
    if part:
        await alice.refused(status, errcode, "PUT", path, {"enabled": True, "actions": []})
    else:
        await alice.refused(status, errcode, "DELETE", path)


@pytest.mark.parametrize("path", ["", "global/", *(f"global/{kind}/.m.rule.master" for kind in RuleKind)])
async def test_rules_need_a_token(hospital: Hospital, path: str) -> None:
    async with hospital.session.get(f"{CLIENT}/pushrules/{path}") as response:
        assert (response.status, (await response.json())["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_a_rule_is_kept_as_it_was_given(alice: Person) -> None:
    conditions = [{"kind": "event_match", "key": "content.body", "pattern": "x*"}, {"kind": "org.example.new", "is": 1}]
    bodies: dict[tuple[str, str], dict[str, Any]] = {
        ("override", "mine"): {"conditions": conditions, "actions": ["notify", {"set_tweak": "highlight"}]},
        ("underride", "mine"): {"conditions": [], "actions": []},
        ("content", "cäke 🍰"): CAKE,
        ("room", "!ward:hospital.example"): {"actions": []},
        ("sender", "@bob:hospital.example"): NOTIFY,
    }
    for (kind, rule_id), body in bodies.items():
        assert await alice.put(path_of(kind, rule_id), body) == {}
        expected = {"rule_id": rule_id, "default": False, "enabled": True, **body}
        assert await alice.get(path_of(kind, rule_id)) == expected
        assert expected in (await alice.get("pushrules/"))["global"][kind]


async def test_historical_actions_are_left_out(alice: Person) -> None:
    await alice.put(path_of("room", "!ward:hospital.example"), {"actions": ["dont_notify", "coalesce", "notify"]})
    assert (await alice.get(path_of("room", "!ward:hospital.example")))["actions"] == ["notify"]


async def test_a_new_rule_is_the_most_important_unless_it_is_placed(alice: Person) -> None:
    for rule_id in ("a", "b"):
        await alice.put(path_of("override", rule_id), NOTIFY)
    assert await ids(alice, "override") == ["b", "a"]
    await alice.put(path_of("override", "c") + "?after=b", NOTIFY)
    await alice.put(path_of("override", "d") + "?before=a", NOTIFY)
    assert await ids(alice, "override") == ["b", "c", "d", "a"]
    await alice.put(path_of("override", "a") + "?before=b&after=c", NOTIFY)
    assert await ids(alice, "override") == ["a", "b", "c", "d"]
    override = (await alice.get("pushrules/"))["global"]["override"]
    assert override[0]["rule_id"] == ".m.rule.master"
    assert override[5]["rule_id"] == ".m.rule.suppress_notices"


@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_rule_is_not_placed_by_what_is_missing_or_default(alice: Person, where: str) -> None:
    path = path_of("override", "mine")
    await alice.refused(400, "M_UNKNOWN", "PUT", path, NOTIFY, **{where: "missing"})
    await alice.refused(400, "M_INVALID_PARAM", "PUT", path, NOTIFY, **{where: ".m.rule.suppress_notices"})
    await alice.refused(404, "M_NOT_FOUND", "GET", path)


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "errcode"),
    [
        ("override", ".mine", NOTIFY, "M_INVALID_PARAM"),
        ("override", ".m.rule.master", NOTIFY, "M_INVALID_PARAM"),
        ("override", "a/b", NOTIFY, "M_INVALID_PARAM"),
        ("override", "a\\b", NOTIFY, "M_INVALID_PARAM"),
        ("other", "mine", NOTIFY, "M_INVALID_PARAM"),
        ("override", "x" * 600, NOTIFY, "M_INVALID_PARAM"),
        ("override", "mine", {}, "M_MISSING_PARAM"),
        ("override", "mine", [], "M_BAD_JSON"),
        ("override", "mine", {"actions": "notify"}, "M_BAD_JSON"),
        ("override", "mine", {"actions": [1]}, "M_BAD_JSON"),
        ("override", "mine", {"actions": [{"value": "x"}]}, "M_BAD_JSON"),
        ("override", "mine", {"actions": [], "conditions": {}}, "M_BAD_JSON"),
        ("override", "mine", {"actions": [], "conditions": [{"is": 1}]}, "M_BAD_JSON"),
        ("content", "mine", NOTIFY, "M_MISSING_PARAM"),
        ("content", "mine", {"actions": [], "pattern": 1}, "M_BAD_JSON"),
        ("content", "mine", {"actions": [], "pattern": "x" * 600}, "M_INVALID_PARAM"),
    ],
)
async def test_rules_that_are_refused(alice: Person, kind: str, rule_id: str, body: Any, errcode: str) -> None:
    before = await alice.get("pushrules/")
    await alice.refused(400, errcode, "PUT", path_of(kind, rule_id), body)
    assert await alice.get("pushrules/") == before


async def test_rules_are_limited_in_number_and_size(alice: Person) -> None:
    conditions = [{"kind": "event_match", "key": "content.body", "pattern": f"{number}*"} for number in range(201)]
    path = path_of("override", "mine")
    await alice.refused(413, "M_TOO_LARGE", "PUT", path, {"actions": [], "conditions": conditions})
    await alice.put(path, {"actions": [], "conditions": conditions[:200]})
    await alice.refused(413, "M_TOO_LARGE", "PUT", path_of("content", "x"), {"actions": [], "pattern": "x*"})
    await alice.put(path_of("content", "x"), {"actions": [], "pattern": "x"})
    large = {"actions": [{"set_tweak": "x", "value": "x" * 131_072}]}
    await alice.refused(413, "M_TOO_LARGE", "PUT", path_of("room", "!ward:hospital.example"), large)


async def test_own_rules_can_be_deleted_and_default_ones_can_not(alice: Person) -> None:
    await alice.put(path_of("content", "cake"), CAKE)
    assert await alice.expect(200, "DELETE", path_of("content", "cake")) == {}
    await alice.refused(404, "M_NOT_FOUND", "DELETE", path_of("content", "cake"))
    await alice.refused(404, "M_NOT_FOUND", "DELETE", path_of("override", ".m.rule.suppress_notices"))
    assert await alice.get("pushrules/global/") == default_rules(alice.user_id).as_json()


@pytest.mark.parametrize(("kind", "rule_id"), [("content", "cake"), ("override", ".m.rule.suppress_notices")])
async def test_every_rule_can_be_disabled_and_get_other_actions(alice: Person, kind: str, rule_id: str) -> None:
    await alice.put(path_of("content", "cake"), CAKE)
    await alice.put(path_of(kind, rule_id, "/enabled"), {"enabled": False})
    assert await alice.get(path_of(kind, rule_id, "/enabled")) == {"enabled": False}
    actions = ["notify", {"set_tweak": "highlight"}]
    await alice.put(path_of(kind, rule_id, "/actions"), {"actions": actions})
    rule = await alice.get(path_of(kind, rule_id))
    assert (rule["enabled"], rule["actions"]) == (False, actions)
    await alice.put(path_of(kind, rule_id, "/enabled"), {"enabled": True})
    assert (await alice.get(path_of(kind, rule_id)))["enabled"] is True


async def test_parts_of_rules_that_are_refused(alice: Person) -> None:
    enabled, actions = (path_of("override", ".m.rule.master", part) for part in ("/enabled", "/actions"))
    await alice.refused(400, "M_MISSING_PARAM", "PUT", enabled, {})
    await alice.refused(400, "M_BAD_JSON", "PUT", enabled, {"enabled": "yes"})
    await alice.refused(400, "M_MISSING_PARAM", "PUT", actions, {})
    await alice.refused(400, "M_BAD_JSON", "PUT", actions, {"actions": [{}]})
    assert await alice.get("pushrules/global/") == default_rules(alice.user_id).as_json()


async def test_a_rule_that_is_replaced_stays_disabled(alice: Person) -> None:
    await alice.put(path_of("content", "cake"), CAKE)
    await alice.put(path_of("content", "cake", "/enabled"), {"enabled": False})
    await alice.put(path_of("content", "cake"), CAKE | NOTIFY)
    rule = await alice.get(path_of("content", "cake"))
    assert (rule["enabled"], rule["actions"]) == (False, ["notify"])


async def test_rules_are_the_users_own(hospital: Hospital, alice: Person) -> None:
    bob = await hospital.person()
    await alice.put(path_of("content", "cake"), CAKE)
    assert await ids(bob, "content") == []
    await bob.refused(404, "M_NOT_FOUND", "DELETE", path_of("content", "cake"))


async def test_the_rules_are_account_data_too(alice: Person) -> None:
    path = f"user/{alice.user_id}/account_data/m.push_rules"
    assert await alice.get(path) == {"global": default_rules(alice.user_id).as_json()}
    await alice.put(path_of("content", "cake"), CAKE)
    assert await alice.get(path) == await alice.get("pushrules/")
    await alice.refused(405, "M_BAD_JSON", "PUT", path, {})
    of_room = f"user/{alice.user_id}/rooms/!ward:hospital.example/account_data/m.push_rules"
    await alice.refused(404, "M_NOT_FOUND", "GET", of_room)


def push_rules_in(sync: Any) -> list[Any]:
    events = sync.get("account_data", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == "m.push_rules"]


async def test_a_sync_tells_the_rules_first_and_when_they_have_changed(alice: Person) -> None:
    first = await alice.get("sync")
    assert push_rules_in(first) == [{"global": default_rules(alice.user_id).as_json()}]
    await alice.put(path_of("content", "cake"), CAKE)
    second = await alice.get("sync", since=first["next_batch"], timeout=5_000)
    assert push_rules_in(second) == [await alice.get("pushrules/")]
    await alice.put(f"user/{alice.user_id}/account_data/org.example.x", {})
    third = await alice.get("sync", since=second["next_batch"])
    assert push_rules_in(third) == []
    assert push_rules_in(await alice.get("sync")) == [await alice.get("pushrules/")]
