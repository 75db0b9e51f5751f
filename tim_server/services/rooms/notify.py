"""Who is to be told of events, decided with them: their notify classes, and what they mean to users of whom the class
does not tell all. What that costs depends on how many users an event concerns, not on how many are in the room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.matrix.push_rules import (
    DEFAULT_FORECAST,
    DEFAULT_RULES_OF_OTHERS,
    NotifyClass,
    NotifyLevel,
    PushContext,
    default_rules,
    evaluate,
    forecast_of,
    level_of,
    notification_levels,
    notify_class_of,
    pushed_event,
    users_named_by,
)
from tim_server.services.push_rules.audience import Audience, Audiences
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.decide import Decision, membership_of
from tim_server.services.turns import in_turns
from tim_server.storage.new_events import NewEvent
from tim_server.storage.notifications import NewNotification

CREATE = ("m.room.create", "")
POWER_LEVELS = ("m.room.power_levels", "")
MEMBER = "m.room.member"
NAMED_MAX = 500
"""How many users an event may name to any effect: more are told what its class says."""
USERS_PER_TURN = 20


@dataclass(slots=True, kw_only=True)
class _Room:
    """The room as a decision leaves it."""

    decision: Decision
    parsed: ParsedEvents
    new: Mapping[int, Event]
    plain: PushContext
    _power: tuple[PowerLevels, Mapping[str, float]] | None = field(default=None)

    async def load(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Event]:
        """The state events in place of these keys."""
        head = self.decision.head
        nids = {key: head.state[key] for key in keys if key in head.state}
        stored = await self.parsed.load([nid for nid in nids.values() if nid not in self.new], head.version)
        return {key: self.new[nid] if nid in self.new else stored[nid] for key, nid in nids.items()}

    async def members(self, users: Collection[UserId]) -> dict[UserId, Event]:
        """The member events of those of the users who are in the room or invited."""
        events = await self.load([(MEMBER, user_id) for user_id in users])
        return {UserId(key[1]): event for key, event in events.items() if membership_of(event) in ("join", "invite")}

    async def joined(self, users: Collection[UserId]) -> list[UserId]:
        """Those of the users who are joined."""
        members = await self.members(users)
        return [user_id for user_id, event in members.items() if membership_of(event) == "join"]

    async def context(self, sender: UserId) -> PushContext:
        """What conditions ask for, the sender's power included."""
        if self._power is None:
            state = await self.load([POWER_LEVELS, CREATE])
            event = state.get(POWER_LEVELS)
            needed = notification_levels(None if event is None else event.content)
            self._power = (PowerLevels.of(event, state.get(CREATE)), needed)
        power, levels = self._power
        return replace(self.plain, sender_power_level=power.user_level(sender), notification_levels=levels)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventOutcomes:
    """Decides whom events concern."""

    server_name: ServerName
    parsed: ParsedEvents
    rules: KnownRules
    audiences: Audiences

    async def add_to(self, decision: Decision) -> Decision:
        """The decision, with what its events mean to users."""
        commit = decision.commit
        if commit is None:
            return decision
        room = _Room(
            decision=decision,
            parsed=self.parsed,
            new={new.nid: event for new, event in zip(commit.events, decision.events, strict=True)},
            plain=PushContext(
                room_member_count=sum(decision.head.joined_servers.values()),
                sender_power_level=0,
                notification_levels={},
            ),
        )
        events: list[NewEvent] = []
        told: list[NewNotification] = []
        for index, (new, event) in enumerate(zip(commit.events, decision.events, strict=True)):
            notify_class, levels = (NotifyClass.NOTHING, {}) if new.outlier else await self._judge(room, event)
            events.append(replace(new, notify_class=notify_class))
            told += (
                NewNotification(event_index=index, event_nid=new.nid, user_id=user_id, level=level)
                for user_id, level in levels.items()
            )
        facts = tuple(notification.as_fact(commit.room_nid) for notification in told)
        changed = replace(commit, events=tuple(events), notifications=tuple(told), facts=(*commit.facts, *facts))
        return replace(decision, commit=changed)

    async def _judge(self, room: _Room, event: Event) -> tuple[NotifyClass, Mapping[UserId, NotifyLevel]]:
        """The class of an event, and levels of those users to whom it means something else."""
        pushed = pushed_event(event)
        context = await room.context(event.sender) if _mentions_room(event) else room.plain
        matched = evaluate(DEFAULT_RULES_OF_OTHERS, pushed, context).rule_id
        notify_class = notify_class_of(pushed, matched)
        head = room.decision.head
        audience = await self.audiences.get(head.nid, head.room_id, room.joined)
        concerned = self._named_by(pushed) | audience.listeners(event.sender, event.content.get("body"), matched)
        concerned.discard(event.sender)
        if not concerned:
            return notify_class, {}
        levels = await self._levels(room, event, pushed, (audience, notify_class), concerned)
        is_told = notify_class is NotifyClass.NOTHING and bool(levels)
        return (NotifyClass.STATE if is_told else notify_class), levels

    def _named_by(self, pushed: Mapping[str, Any]) -> set[UserId]:
        named = (UserId(user_id) for user_id in users_named_by(pushed))
        local = [user_id for user_id in named if user_id.server_name == self.server_name]
        return set(local if len(local) <= NAMED_MAX else sorted(local)[:NAMED_MAX])

    async def _levels(
        self,
        room: _Room,
        event: Event,
        pushed: Mapping[str, Any],
        expected: tuple[Audience, NotifyClass],
        users: Collection[UserId],
    ) -> dict[UserId, NotifyLevel]:
        """What the event means to those of the users to whom it means something else than its class says."""
        audience, notify_class = expected
        members = await room.members(users)
        rules = await self.rules.load(members)
        context = await room.context(event.sender)
        levels = {}
        async for user_id in in_turns(members, per_turn=USERS_PER_TURN):
            if membership_of(members[user_id]) == "invite" and event is not members[user_id]:
                continue
            changed = rules[user_id]
            forecast = audience.forecasts.get(user_id)
            if forecast is None:
                forecast = DEFAULT_FORECAST if changed is None else forecast_of(changed, audience.room_id)
            outcome = evaluate(
                default_rules(user_id) if changed is None else changed,
                pushed,
                replace(context, display_name=_display_name(members[user_id])),
            )
            if level_of(outcome) != forecast.levels[notify_class]:
                levels[user_id] = level_of(outcome)
        return levels


def _mentions_room(event: Event) -> bool:
    mentions = event.content.get("m.mentions")
    return isinstance(mentions, Mapping) and mentions.get("room") is True


def _display_name(member: Event) -> str | None:
    name = member.content.get("displayname")
    return name if isinstance(name, str) else None
