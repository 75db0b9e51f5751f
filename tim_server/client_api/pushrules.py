"""Push rules: `pushrules.yaml`."""

from typing import Any

import orjson

from tim_server.matrix.push_rules import RuleKind
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.push_rules.read import push_rules_content, read_push_rule, read_push_rules
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Route


class GetPushRulesRequest(RequestModel):
    """Nothing."""


async def get_push_rules(server: Homeserver, requester: Requester, request: GetPushRulesRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/`: all push rules of the requester.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrules
    """
    return RawJson(push_rules_content(requester.user_id))


async def get_push_rules_global(server: Homeserver, requester: Requester, request: GetPushRulesRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/global/`: the rules by kind.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobal
    """
    return RawJson(orjson.dumps(read_push_rules(requester.user_id).as_json()))


class GetPushRuleRequest(RequestModel):
    """Which rule."""

    kind: InPath[RuleKind]
    rule_id: InPath[str]


async def get_push_rule(server: Homeserver, requester: Requester, request: GetPushRuleRequest) -> RawJson:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}`: one rule; 404 where there is none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleid
    """
    rule = read_push_rule(requester.user_id, request.kind, request.rule_id)
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
    return IsPushRuleEnabledResponse(enabled=read_push_rule(requester.user_id, request.kind, request.rule_id).enabled)


class GetPushRuleActionsResponse(ResponseModel):
    """What the rule does."""

    actions: list[Any]


async def get_push_rule_actions(
    server: Homeserver, requester: Requester, request: GetPushRuleRequest
) -> GetPushRuleActionsResponse:
    """`GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions`

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3pushrulesglobalkindruleidactions
    """
    rule = read_push_rule(requester.user_id, request.kind, request.rule_id)
    return GetPushRuleActionsResponse(actions=list(rule.actions))


ROUTES = (
    Route("GET", "/_matrix/client/v3/pushrules/", get_push_rules),
    Route("GET", "/_matrix/client/v3/pushrules/global/", get_push_rules_global),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}", get_push_rule),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled", is_push_rule_enabled),
    Route("GET", "/_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions", get_push_rule_actions),
)
