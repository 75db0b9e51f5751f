"""Push rules: `pushrules.yaml`."""

from typing import Any

import orjson

from tim_server.matrix.push_rules import RuleKind
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.push_rules.change import Placing
from tim_server.services.push_rules.read import push_rules_content
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, RawJson, ResponseModel
from tim_server.web.route import Route


class GetPushRulesRequest(RequestModel):
    """Nothing."""


async def get_push_rules(server: Homeserver, requester: Requester, request: GetPushRulesRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/`: all push rules of the requester.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules
    """
    return RawJson(push_rules_content(await server.push_rules.read(requester.user_id)))


async def get_push_rules_global(server: Homeserver, requester: Requester, request: GetPushRulesRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/global/`: the rules by kind.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal
    """
    return RawJson(orjson.dumps((await server.push_rules.read(requester.user_id)).as_json()))


class GetPushRulesOfKindRequest(RequestModel):
    """Which kind."""

    kind: InPath[RuleKind]


async def get_push_rules_of_kind(
    server: Homeserver, requester: Requester, request: GetPushRulesOfKindRequest
) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/`: the rules of one kind, as older versions had it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
    """
    rules = (await server.push_rules.read(requester.user_id)).of_kind(request.kind)
    return RawJson(orjson.dumps([rule.as_json() for rule in rules]))


class GetPushRuleRequest(RequestModel):
    """Which rule."""

    kind: InPath[RuleKind]
    rule_id: InPath[str]


async def get_push_rule(server: Homeserver, requester: Requester, request: GetPushRuleRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: one rule; 404 where there is none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid
    """
    rule = await server.push_rules.read_one(requester.user_id, request.kind, request.rule_id)
    return RawJson(orjson.dumps(rule.as_json()))


class IsPushRuleEnabledResponse(ResponseModel):
    """Whether the rule is enabled."""

    enabled: bool


async def is_push_rule_enabled(
    server: Homeserver, requester: Requester, request: GetPushRuleRequest
) -> IsPushRuleEnabledResponse:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidenabled
    """
    rule = await server.push_rules.read_one(requester.user_id, request.kind, request.rule_id)
    return IsPushRuleEnabledResponse(enabled=rule.enabled)


class GetPushRuleActionsResponse(ResponseModel):
    """What the rule does."""

    actions: list[Any]


async def get_push_rule_actions(
    server: Homeserver, requester: Requester, request: GetPushRuleRequest
) -> GetPushRuleActionsResponse:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions
    """
    rule = await server.push_rules.read_one(requester.user_id, request.kind, request.rule_id)
    return GetPushRuleActionsResponse(actions=list(rule.actions))


class SetPushRuleRequest(GetPushRuleRequest):
    """The rule, and where it is to stand."""

    before: InQuery[str | None] = None
    after: InQuery[str | None] = None
    rule: WholeBody[dict[str, Any]]


async def set_push_rule(server: Homeserver, requester: Requester, request: SetPushRuleRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: add a rule of the requester's own, or change it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleid
    """
    placing = Placing(before=request.before, after=request.after)
    await server.push_rule_change.put(requester.user_id, request.kind, request.rule_id, request.rule, placing)
    return EmptyResponse()


async def delete_push_rule(server: Homeserver, requester: Requester, request: GetPushRuleRequest) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: remove a rule of the requester's own.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3pushrulesglobalkindruleid
    """
    await server.push_rule_change.delete(requester.user_id, request.kind, request.rule_id)
    return EmptyResponse()


class SetPushRuleEnabledRequest(GetPushRuleRequest):
    """Which rule, and what it is to be."""

    enabled: bool


async def set_push_rule_enabled(
    server: Homeserver, requester: Requester, request: SetPushRuleEnabledRequest
) -> EmptyResponse:
    """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled`: enable or disable a rule, default or not.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidenabled
    """
    await server.push_rule_change.set_enabled(requester.user_id, request.kind, request.rule_id, enabled=request.enabled)
    return EmptyResponse()


class SetPushRuleActionsRequest(GetPushRuleRequest):
    """Which rule, and what it is to do."""

    actions: list[Any]


async def set_push_rule_actions(
    server: Homeserver, requester: Requester, request: SetPushRuleActionsRequest
) -> EmptyResponse:
    """`PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`: what a rule does, default or not.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3pushrulesglobalkindruleidactions
    """
    await server.push_rule_change.set_actions(requester.user_id, request.kind, request.rule_id, request.actions)
    return EmptyResponse()


ROUTES = (
    Route("GET", "/_matrix/client/v3/pushrules/", get_push_rules),
    Route("GET", "/_matrix/client/v3/pushrules/global/", get_push_rules_global),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/", get_push_rules_of_kind),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", get_push_rule),
    Route("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", set_push_rule),
    Route("DELETE", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", delete_push_rule),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", is_push_rule_enabled),
    Route("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", set_push_rule_enabled),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", get_push_rule_actions),
    Route("PUT", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", set_push_rule_actions),
)
