"""The services of joining across servers, in both directions."""

from typing import Any

from tim_server.app.parts import Parts, now_ms
from tim_server.federation.joining import JoinAnswerBounds
from tim_server.services.rooms.remote.ask_in_turn import AskingBounds
from tim_server.services.rooms.remote.check_join import JoinCheck
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.complete_state import StateCompletion
from tim_server.services.rooms.remote.enter import RoomEntry
from tim_server.services.rooms.remote.join import RemoteJoin
from tim_server.services.rooms.remote.joins_under_way import JoinsUnderWay
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.services.rooms.remote.outliers import Outliers
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.services.rooms.remote.take_in_state import StateIntake
from tim_server.services.rooms.remote.unverified_members import UnverifiedMembers
from tim_server.services.rooms.resident.make_join import JoinTemplates, RestrictedJoins
from tim_server.services.rooms.resident.member_templates import MemberTemplates
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.send_join import JoinReceipt
from tim_server.services.rooms.resident.take_over import EventTakeOver


def joins_under_way(parts: Parts) -> JoinsUnderWay:
    """Build what notes which joins are under way."""
    return JoinsUnderWay(store=parts.store, now_ms=now_ms, lasts_s=parts.tenant.federation.join_timeout_s)


def make_remote_join(parts: Parts) -> RemoteJoin:
    """Build what joins rooms of other servers."""
    store, federation = parts.store, parts.federation
    check, limits = PduCheck(keys=federation.keys), parts.tenant.federation
    return RemoteJoin(
        author=parts.author,
        client=federation.client,
        servers=ServersOfRoom(
            server_name=parts.author.server_name, database=store.database, heads=parts.heads, gate=federation.gate
        ),
        known_rooms=KnownRooms(store=store, heads=parts.heads),
        under_way=joins_under_way(parts),
        intake=StateIntake(check=check, outliers=Outliers(store=store, parsed=parts.parsed), parsed=parts.parsed),
        check=JoinCheck(database=store.database, parsed=parts.parsed, check=check),
        entry=RoomEntry(
            server_name=parts.author.server_name,
            store=store,
            parsed=parts.parsed,
            resolver=parts.resolver,
            queues=parts.queues,
        ),
        leaving=parts.leaving.remote,
        unverified=UnverifiedMembers(store=store, keys=federation.keys, now_ms=now_ms),
        now_ms=now_ms,
        asking=AskingBounds(servers_max=limits.join_servers_max, timeout_s=limits.join_timeout_s),
        answers=JoinAnswerBounds(
            timeout_s=limits.join_timeout_s,
            size_bytes_max=limits.join_answer_bytes_max,
            events_max=limits.join_events_max,
        ),
    )


def make_state_completion(parts: Parts, joining: RemoteJoin) -> StateCompletion:
    """Build what completes rooms' states."""
    return StateCompletion(
        server_name=parts.author.server_name,
        store=parts.store,
        keys=parts.federation.keys,
        heads=parts.heads,
        parsed=parts.parsed,
        joining=joining,
        now_ms=now_ms,
    )


def resident_joins(parts: Parts) -> dict[str, Any]:
    """Build what lets users of other servers into rooms of this one."""
    server_name, store, federation = parts.author.server_name, parts.store, parts.federation
    participation = Participation(server_name=server_name, heads=parts.heads, parsed=parts.parsed)
    restricted = RestrictedJoins(server_name=server_name, database=store.database, codec=store.codec)
    return {
        "join_templates": JoinTemplates(
            participation=participation,
            gate=federation.gate,
            templates=MemberTemplates(server_name=server_name, parsed=parts.parsed, now_ms=now_ms),
            restricted=restricted,
        ),
        "join_receipt": JoinReceipt(
            author=parts.author,
            store=store,
            participation=participation,
            gate=federation.gate,
            take_over=EventTakeOver(queues=parts.queues, keys=federation.keys),
            restricted=restricted,
        ),
    }
