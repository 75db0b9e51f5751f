"""The services of push rules and notifications."""

from tim_server.app.accounts import Services
from tim_server.app.cache_budget import AUDIENCES, PUSH_RULES, UNREAD_COUNTS, CacheBudget
from tim_server.app.parts import Parts
from tim_server.matrix.identifiers import ServerName
from tim_server.services.notifications.counts import UnreadCounts
from tim_server.services.notifications.list import NotificationList
from tim_server.services.notifications.room_tails import RoomTails
from tim_server.services.push_rules.audience import Audiences
from tim_server.services.push_rules.change import PushRuleChange, PushRulePolicy
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.push_rules.read import PushRules
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.notify import EventOutcomes
from tim_server.storage.store import Store


def make_outcomes(
    store: Store, parsed: ParsedEvents, server_name: ServerName, budget: CacheBudget | None = None
) -> EventOutcomes:
    """What decides whom events concern; the commit log's tail keeps what it remembers."""
    budget = budget or CacheBudget()
    rules = KnownRules(database=store.database, codec=store.codec, bytes_max=budget.entries_max(PUSH_RULES))
    audiences = Audiences(
        server_name=server_name,
        database=store.database,
        codec=store.codec,
        rules=rules,
        bytes_max=budget.entries_max(AUDIENCES),
    )
    store.commit_log.subscribe(rules.follow)
    store.commit_log.subscribe(audiences.follow)
    store.writer.on_restored += [rules.clear, audiences.clear]
    return EventOutcomes(server_name=server_name, parsed=parsed, rules=rules, audiences=audiences)


def make_counts(store: Store, rules: KnownRules, budget: CacheBudget | None = None) -> UnreadCounts:
    """What counts unread events; the commit log's tail moves on what it remembers, before it wakes anybody."""
    counts = UnreadCounts(
        database=store.database,
        commit_log=store.commit_log,
        rules=rules,
        tails=RoomTails(commit_log=store.commit_log),
        tallies_max=(budget or CacheBudget()).entries_max(UNREAD_COUNTS),
    )
    store.commit_log.subscribe(counts.follow)
    store.writer.on_restored.append(counts.clear)
    return counts


def push_services(parts: Parts) -> Services:
    """Build them over the store."""
    store = parts.store
    return Services(
        fields={
            "notification_list": NotificationList(
                database=store.database, client_events=parts.client_events, rules=parts.rules
            ),
            "push_rules": PushRules(database=store.database, codec=store.codec),
            "push_rule_change": make_push_rule_change(parts),
        }
    )


def make_push_rule_change(parts: Parts) -> PushRuleChange:
    """What changes push rules."""
    store = parts.store
    policy = PushRulePolicy(bytes_max=parts.settings.limits.push_rules_bytes_max)
    return PushRuleChange(database=store.database, writer=store.writer, codec=store.codec, policy=policy)
