"""The services of push rules and notifications."""

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts
from tim_server.services.push_rules.change import PushRuleChange, PushRulePolicy
from tim_server.services.push_rules.read import PushRules


def push_services(parts: Parts) -> Services:
    """Build them over the store."""
    store = parts.store
    policy = PushRulePolicy(bytes_max=parts.settings.limits.push_rules_bytes_max)
    return Services(
        fields={
            "push_rules": PushRules(database=store.database, codec=store.codec),
            "push_rule_change": PushRuleChange(
                database=store.database, writer=store.writer, codec=store.codec, policy=policy
            ),
        }
    )
