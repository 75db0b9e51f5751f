"""Push rules over real HTTP: clients read the server's defaults, and wait for them before their first sync ends."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.account_server import AccountServer
from tim_server.matrix.push_rules import RuleKind, default_rules

V3 = "/_matrix/client/v3"
USER = "@user:hospital.example"
RULES = default_rules(USER).as_json()


@pytest.mark.parametrize("slash", ["/", ""])
async def test_all_rules(account_server: AccountServer, account_token: str, slash: str) -> None:
    path = f"{V3}/pushrules"
    assert await account_server.expect(200, "GET", path + slash, token=account_token) == {"global": RULES}
    assert await account_server.expect(200, "GET", f"{path}/global{slash}", token=account_token) == RULES


async def test_all_kinds_are_there_though_empty(account_server: AccountServer, account_token: str) -> None:
    rules = await account_server.expect(200, "GET", f"{V3}/pushrules/global/", token=account_token)
    assert set(rules) == {"override", "content", "room", "sender", "underride"}
    assert rules["override"][0]["rule_id"] == ".m.rule.master"
    invite = next(rule for rule in rules["override"] if rule["rule_id"] == ".m.rule.invite_for_me")
    assert {"kind": "event_match", "key": "state_key", "pattern": USER} in invite["conditions"]


async def test_each_rule_and_its_parts(account_server: AccountServer, account_token: str) -> None:
    for kind, rules in RULES.items():
        for rule in rules:
            path = f"{V3}/pushrules/global/{kind}/{quote(rule['rule_id'])}"
            assert await account_server.expect(200, "GET", path, token=account_token) == rule
            enabled = await account_server.expect(200, "GET", f"{path}/enabled", token=account_token)
            assert enabled == {"enabled": rule["enabled"]}
            actions = await account_server.expect(200, "GET", f"{path}/actions", token=account_token)
            assert actions == {"actions": rule["actions"]}


@pytest.mark.parametrize("part", ["", "/enabled", "/actions"])
@pytest.mark.parametrize(
    ("rule", "status", "errcode"),
    [
        ("override/.m.rule.message", 404, "M_NOT_FOUND"),
        ("room/!ward:hospital.example", 404, "M_NOT_FOUND"),
        ("overrides/.m.rule.master", 400, "M_INVALID_PARAM"),
    ],
)
async def test_rules_that_do_not_exist(
    account_server: AccountServer, account_token: str, rule: str, part: str, status: int, errcode: str
) -> None:
    path = f"{V3}/pushrules/global/{rule}{part}"
    await account_server.expect_error(status, errcode, "GET", path, token=account_token)


@pytest.mark.parametrize("path", ["", "global/", *(f"global/{kind}/.m.rule.master" for kind in RuleKind)])
async def test_rules_need_a_token(account_server: AccountServer, path: str) -> None:
    await account_server.expect_error(401, "M_MISSING_TOKEN", "GET", f"{V3}/pushrules/{path}")


async def test_the_rules_are_account_data_too(account_server: AccountServer, account_token: str) -> None:
    path = f"{V3}/user/{USER}/account_data/m.push_rules"
    content: Any = await account_server.expect(200, "GET", path, token=account_token)
    assert content == {"global": RULES}
    of_room = f"{V3}/user/{USER}/rooms/!ward:hospital.example/account_data/m.push_rules"
    await account_server.expect_error(404, "M_NOT_FOUND", "GET", of_room, token=account_token)
