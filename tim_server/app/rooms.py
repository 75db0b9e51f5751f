"""The services of rooms: creating, sending, membership, aliases, reading."""

import secrets
from typing import Any

from tim_server.app.accounts import Services
from tim_server.app.history import HistoryFetching, make_history_fetching
from tim_server.app.joins import make_remote_join, make_state_completion
from tim_server.app.membership import make_identity_servers, make_invites, make_knock
from tim_server.app.parts import Parts, now_ms
from tim_server.app.push import make_push_rule_change
from tim_server.background.elect import elected_loop
from tim_server.background.supervise import Loop
from tim_server.services.reports.file import Reporting
from tim_server.services.reports.review import ReportReview
from tim_server.services.rooms.aliases import RoomAliases
from tim_server.services.rooms.canonical_alias import CanonicalAliasCheck
from tim_server.services.rooms.carry_over import CarryOver
from tim_server.services.rooms.context import RoomContext
from tim_server.services.rooms.create import CreationPolicy, RoomCreation
from tim_server.services.rooms.event import RoomEvent
from tim_server.services.rooms.event_by_time import EventByTime
from tim_server.services.rooms.guest_access import GuestRemoval
from tim_server.services.rooms.invite_address import AddressInvites
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.leave import RoomForget
from tim_server.services.rooms.member_state import MemberState
from tim_server.services.rooms.members import RoomMembers
from tim_server.services.rooms.merge_branches import BranchMerge
from tim_server.services.rooms.messages import RoomHistory
from tim_server.services.rooms.moderate import Moderation
from tim_server.services.rooms.publish import RoomPublication
from tim_server.services.rooms.redact import Redaction
from tim_server.services.rooms.relations import RoomRelations
from tim_server.services.rooms.remote.join import RemoteJoin
from tim_server.services.rooms.send import RoomSender
from tim_server.services.rooms.state import RoomState
from tim_server.services.rooms.threads import RoomThreads
from tim_server.services.rooms.upgrade import RoomUpgrade
from tim_server.storage.election import Elections

GUEST_SWEEP_INTERVAL_S = 1.0
COMPLETION_POST = "complete states of rooms"


def room_services(parts: Parts, elections: Elections) -> Services:
    """Build them over the store and the room queues."""
    guests = GuestRemoval(database=parts.store.database, codec=parts.store.codec, queues=parts.queues)
    parts.store.commit_log.subscribe(guests.follow)
    parts.store.writer.on_restored.append(guests.forget)
    merge = BranchMerge(server_name=parts.author.server_name, queues=parts.queues)
    parts.queues.on_received = merge.look
    remote = make_remote_join(parts)
    join = _make_join(parts, remote)
    completion = make_state_completion(parts, remote)
    fetching = make_history_fetching(parts)
    reading = _reading(parts, fetching)
    return Services(
        fields=_sending(parts, join) | _membership(parts, join) | _naming(parts) | reading | _reports(parts),
        loops=(
            Loop(name="remove guests", interval_s=GUEST_SWEEP_INTERVAL_S, work=guests.sweep),
            elected_loop(elections, COMPLETION_POST, completion.run),
        ),
        closers=(merge.close, remote.close, fetching.backfill.close, fetching.reach.close),
    )


def _sending(parts: Parts, join: RoomJoin) -> dict[str, Any]:
    store, queues = parts.store, parts.queues
    redaction = Redaction(database=store.database, codec=store.codec, queues=queues)
    check = CanonicalAliasCheck(database=store.database, codec=store.codec)
    return {
        "redaction": redaction,
        "room_sender": RoomSender(
            queues=queues,
            redaction=redaction,
            member_state=MemberState(
                database=store.database,
                codec=store.codec,
                queues=queues,
                join=join,
                leaving=parts.leaving,
                invites=make_invites(parts),
            ),
            canonical_alias_check=check,
        ),
        "room_creation": RoomCreation(
            server_name=parts.author.server_name,
            database=store.database,
            codec=store.codec,
            queues=queues,
            invites=make_invites(parts),
            identity=make_identity_servers(parts),
            policy=CreationPolicy(
                default_version=parts.tenant.rooms.default_version,
                invites_max=parts.settings.limits.invites_per_room_creation_max,
            ),
            randomness=secrets.token_bytes,
        ),
        "room_upgrade": RoomUpgrade(
            store=store,
            queues=queues,
            parsed=parts.parsed,
            carry_over=_make_carry_over(parts),
            author=parts.author,
            now_ms=now_ms,
            randomness=secrets.token_bytes,
        ),
    }


def _make_join(parts: Parts, remote: RemoteJoin) -> RoomJoin:
    return RoomJoin(
        server_name=parts.author.server_name,
        database=parts.store.database,
        codec=parts.store.codec,
        queues=parts.queues,
        carry_over=_make_carry_over(parts),
        remote=remote,
        aliases=parts.aliases,
    )


def _make_carry_over(parts: Parts) -> CarryOver:
    store = parts.store
    return CarryOver(
        database=store.database,
        codec=store.codec,
        writer=store.writer,
        queues=parts.queues,
        push_rules=make_push_rule_change(parts),
    )


def _membership(parts: Parts, join: RoomJoin) -> dict[str, Any]:
    store, queues = parts.store, parts.queues
    moderation = Moderation(database=store.database, codec=store.codec, queues=queues, invites=make_invites(parts))
    return {
        "room_join": join,
        "room_knock": make_knock(parts, join),
        "room_leave": parts.leaving,
        "room_forget": RoomForget(database=store.database, writer=store.writer),
        "moderation": moderation,
        "address_invites": AddressInvites(
            database=store.database,
            codec=store.codec,
            queues=queues,
            moderation=moderation,
            identity=make_identity_servers(parts),
        ),
    }


def _naming(parts: Parts) -> dict[str, Any]:
    store = parts.store
    return {
        "room_aliases": RoomAliases(
            server_name=parts.author.server_name, database=store.database, codec=store.codec, queues=parts.queues
        ),
        "alias_resolution": parts.aliases,
        "room_publication": RoomPublication(database=store.database, codec=store.codec),
    }


def _reading(parts: Parts, fetching: HistoryFetching) -> dict[str, Any]:
    store, limit_max = parts.store, parts.settings.limits.messages_events_max
    common: dict[str, Any] = {
        "database": store.database,
        "codec": store.codec,
        "client_events": parts.client_events,
    }
    return {
        "room_event": RoomEvent(database=store.database, client_events=parts.client_events),
        "room_state": RoomState(snapshots=store.snapshots, **common),
        "room_members": RoomMembers(**common),
        "room_history": RoomHistory(
            backfill=fetching.backfill,
            limit_max=limit_max,
            fill_wait_s=parts.tenant.federation.history_wait_s,
            **common,
        ),
        "room_context": RoomContext(reach=fetching.reach, snapshots=store.snapshots, limit_max=limit_max, **common),
        **_finding(parts, fetching),
    }


def _reports(parts: Parts) -> dict[str, Any]:
    store = parts.store
    return {
        "reporting": Reporting(
            database=store.database,
            writer=store.writer,
            client_events=parts.client_events,
            now_ms=now_ms,
            open_per_user_max=parts.settings.limits.open_reports_per_user_max,
        ),
        "report_review": ReportReview(database=store.database, writer=store.writer, codec=store.codec, now_ms=now_ms),
    }


def _finding(parts: Parts, fetching: HistoryFetching) -> dict[str, Any]:
    """What finds events by what they relate to, or by their time."""
    database, limit_max = parts.store.database, parts.settings.limits.messages_events_max
    return {
        "room_relations": RoomRelations(database=database, client_events=parts.client_events, limit_max=limit_max),
        "room_threads": RoomThreads(database=database, client_events=parts.client_events, limit_max=limit_max),
        "event_by_time": EventByTime(
            database=database, visibility=parts.client_events.visibility, reach=fetching.reach
        ),
    }
