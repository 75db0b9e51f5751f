"""The services of what passes: receipts, typing, presence."""

from typing import Any

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts, now_ms
from tim_server.background.supervise import Loop
from tim_server.services.account_data.keep import AccountData
from tim_server.services.presence.ask import Presence
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.policy import PresencePolicy
from tim_server.services.presence.track import PresenceTracking
from tim_server.services.receipts.mark_read import ReadMarkers
from tim_server.services.typing.set_typing import Typing

SWEEP_INTERVAL_S = 5.0


def presence_tracking(parts: Parts) -> PresenceTracking:
    """What the services of presence and `/sync` share."""
    store, presence = parts.store, parts.tenant.presence
    policy = PresencePolicy(
        enabled=presence.enabled,
        idle_after_ms=presence.idle_after_ms,
        offline_after_ms=presence.offline_after_ms,
        room_members_max=presence.room_members_max,
        status_msg_length_max=presence.status_msg_length_max,
    )
    tracking = PresenceTracking(
        database=store.database,
        writer=store.writer,
        audience=PresenceAudience(codec=store.codec, policy=policy),
        now_ms=now_ms,
    )
    store.commit_log.subscribe(tracking.follow)
    return tracking


def ephemeral_services(parts: Parts, account_data: AccountData, presence: PresenceTracking) -> Services:
    """Build them over the store."""
    store = parts.store
    common: dict[str, Any] = {"database": store.database, "writer": store.writer, "now_ms": now_ms}
    read_markers = ReadMarkers(
        codec=store.codec, visibility=parts.client_events.visibility, account_data=account_data, **common
    )
    typing = Typing(timeout_ms_max=parts.settings.limits.typing_timeout_ms_max, **common)
    store.commit_log.subscribe(typing.follow)
    return Services(
        fields={
            "read_markers": read_markers,
            "typing": typing,
            "presence": Presence(tracking=presence, audience=presence.audience),
        },
        closers=(typing.close, presence.close),
        loops=(
            Loop(name="end typing", interval_s=SWEEP_INTERVAL_S, work=typing.sweep),
            Loop(name="look after presence", interval_s=SWEEP_INTERVAL_S, work=presence.look_after),
        ),
    )
