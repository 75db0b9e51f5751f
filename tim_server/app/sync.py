"""The services of `/sync`, and of what came before it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.app.accounts import Services
from tim_server.app.cache_budget import EVENT_ROWS, FILTERS, ROOMS_OF_SYNCING_USERS, SENT_MEMBERS, CacheBudget
from tim_server.app.parts import Parts
from tim_server.app.push import make_counts
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.filters.define import Filters
from tim_server.services.notifications.counts import UnreadCounts
from tim_server.services.presence.track import PresenceTracking
from tim_server.services.rooms.deletion.forget import upon_deletion
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.choose_filter import FilterChoice
from tim_server.services.sync.device_lists import DeviceListsPart
from tim_server.services.sync.ephemeral import Ephemeral
from tim_server.services.sync.event_rows import EventRows
from tim_server.services.sync.event_stream import EventStream
from tim_server.services.sync.from_database import FromDatabase
from tim_server.services.sync.from_memory import FromMemory
from tim_server.services.sync.initial_sync import InitialSync
from tim_server.services.sync.key_counts import KeyCountsPart
from tim_server.services.sync.members_seen import MembersSeen
from tim_server.services.sync.own_invites import OwnInvites
from tim_server.services.sync.parts import AnswerParts
from tim_server.services.sync.presence import PresencePart
from tim_server.services.sync.request import SyncOptions
from tim_server.services.sync.room_watch import RoomWatch
from tim_server.services.sync.sent_members import SentMembers
from tim_server.services.sync.sources import Sources
from tim_server.services.sync.sync import Sync
from tim_server.services.sync.to_device import ToDevicePart
from tim_server.services.sync.unread import UnreadPart
from tim_server.services.sync.views import Views
from tim_server.storage.one_time_keys import load_key_counts_of_users
from tim_server.storage.shared_rooms import load_moves, load_rooms_of_users
from tim_server.storage.store import Store
from tim_server.storage.typing import load_typing


def sync_services(parts: Parts, filters: Filters, presence: PresenceTracking, reading: Mapping[str, Any]) -> Services:
    """Build them over the store, and over the services that read rooms."""
    limits = parts.settings.limits
    options = SyncOptions(timeline_limit_max=limits.timeline_events_max, timeout_ms_max=limits.sync_timeout_ms_max)
    kept = KeptOfUsers(presence=presence, counts=make_counts(parts.store, parts.rules, parts.budget))
    sync = make_sync(parts.store, parts.client_events, filters, kept, options, parts.budget)
    return Services(fields={"sync": sync} | _older_forms(parts, sync, reading), closers=(sync.close,))


def _older_forms(parts: Parts, sync: Sync, reading: Mapping[str, Any]) -> dict[str, Any]:
    store = parts.store
    invites = OwnInvites(database=store.database, codec=store.codec, client_events=parts.client_events)
    watch = RoomWatch()
    store.commit_log.subscribe(watch.follow)
    history, state = reading["room_history"], reading["room_state"]
    return {
        "event_stream": EventStream(
            sync=sync,
            history=history,
            invites=invites,
            commit_log=store.commit_log,
            watch=watch,
            catch_up=store.follower.catch_up,
        ),
        "initial_sync": InitialSync(database=store.database, sync=sync, invites=invites, history=history, state=state),
    }


def _parts_of_devices(store: Store) -> tuple[ToDevicePart, DeviceListsPart, KeyCountsPart]:
    """They hear of commits before those who wait are woken."""
    to_device = ToDevicePart(
        database=store.database, writer=store.writer, codec=store.codec, commit_log=store.commit_log
    )
    device_lists = DeviceListsPart(
        database=store.database,
        moves=SharedLookUps(database=store.database, read=load_moves),
        rooms=SharedLookUps(database=store.database, read=load_rooms_of_users),
    )
    key_counts = KeyCountsPart(look_ups=SharedLookUps(database=store.database, read=load_key_counts_of_users))
    store.commit_log.subscribe(device_lists.follow)
    store.commit_log.subscribe(key_counts.follow)
    store.writer.on_restored += [to_device.clear, device_lists.clear, key_counts.look_ups.clear]
    return to_device, device_lists, key_counts


def _presence_part(store: Store, presence: PresenceTracking) -> PresencePart:
    part = PresencePart(
        audience=presence.audience,
        look_ups=SharedLookUps(database=store.database, read=presence.audience.of_users),
        arrivals=SharedLookUps(database=store.database, read=presence.audience.arrivals),
        now_ms=presence.now_ms,
    )
    store.commit_log.subscribe(part.follow)
    store.writer.on_restored.append(part.clear)
    return part


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOfUsers:
    """What is kept of users that answers tell of, beside rooms and devices."""

    presence: PresenceTracking
    counts: UnreadCounts


def make_sync(
    store: Store,
    client_events: ClientEvents,
    filters: Filters,
    kept: KeptOfUsers,
    options: SyncOptions,
    budget: CacheBudget | None = None,
) -> Sync:
    """Build it, and let the commit log's tail feed what it remembers."""
    budget, presence = budget or CacheBudget(), kept.presence
    rows = EventRows(codec=store.codec, bytes_max=budget.entries_max(EVENT_ROWS))
    views = Views(commit_log=store.commit_log, rooms_max=budget.entries_max(ROOMS_OF_SYNCING_USERS))
    ephemeral = Ephemeral(typing=SharedLookUps(database=store.database, read=load_typing))
    to_device, device_lists, key_counts = _parts_of_devices(store)
    sources = Sources(
        codec=store.codec,
        snapshots=store.snapshots,
        client_events=client_events,
        rows=rows,
        sent_members=SentMembers(members_max=budget.entries_max(SENT_MEMBERS)),
        parts=AnswerParts(
            of_user=(_presence_part(store, presence), to_device, device_lists, key_counts),
            of_rooms=(UnreadPart(counts=kept.counts), ephemeral),
        ),
    )
    members_seen = MembersSeen(database=store.database, sources=sources)
    store.commit_log.subscribe(rows.follow)
    store.commit_log.subscribe(upon_deletion(rows.clear))
    store.commit_log.subscribe(members_seen.follow)
    store.commit_log.subscribe(ephemeral.follow)
    store.commit_log.subscribe(views.follow)
    store.writer.on_restored += [
        rows.clear,
        views.clear,
        members_seen.clear,
        ephemeral.clear,
        sources.sent_members.clear,
    ]
    return Sync(
        choice=FilterChoice(filters=filters, remembered_max=budget.entries_max(FILTERS)),
        views=views,
        from_memory=FromMemory(
            database=store.database,
            commit_log=store.commit_log,
            views=views,
            sources=sources,
            members_seen=members_seen,
            server_name=client_events.visibility.server_name,
        ),
        from_database=FromDatabase(database=store.database, sources=sources, views=views),
        presence=presence,
        to_device=to_device,
        options=options,
        catch_up=store.follower.catch_up,
    )
