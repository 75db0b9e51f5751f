"""The services of membership across servers: invites, knocks and leaves of rooms, ours and others'."""

from tim_server.app.accounts import Services
from tim_server.app.federation_parts import FederationParts
from tim_server.app.parts import Parts, now_ms
from tim_server.config.settings import Settings
from tim_server.federation.identity_servers import IdentityClient
from tim_server.matrix.identifiers import ServerName
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.identity_servers import IdentityServers
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.knock import RoomKnock
from tim_server.services.rooms.leave import RoomLeave
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.bound_address import BoundAddress
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.invite import Invites
from tim_server.services.rooms.remote.invited import InviteReceipt
from tim_server.services.rooms.remote.knock import RemoteKnock
from tim_server.services.rooms.remote.leave import RemoteLeave
from tim_server.services.rooms.remote.outside import OutsideMemberships
from tim_server.services.rooms.remote.servers_of_room import ServersOfRoom
from tim_server.services.rooms.remote.third_party_invite import ThirdPartyInvites
from tim_server.services.rooms.remote.told_state import ToldState
from tim_server.services.rooms.resident.knock import KnockReceipt
from tim_server.services.rooms.resident.leave import LeaveReceipt
from tim_server.services.rooms.resident.member_templates import MemberTemplates
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.take_over import EventTakeOver
from tim_server.services.rooms.resident.tell_state import StateTelling
from tim_server.storage.store import Store


def make_outside(settings: Settings, store: Store, heads: RoomHeads, server_name: ServerName) -> OutsideMemberships:
    """What keeps memberships of rooms that this server is not in."""
    return OutsideMemberships(
        server_name=server_name,
        store=store,
        heads=heads,
        invites_max=settings.limits.pending_invites_per_user_max,
    )


def make_leaving(queues: RoomQueues, outside: OutsideMemberships, federation: FederationParts) -> RoomLeave:
    """What lets users out of rooms."""
    return RoomLeave(
        database=outside.store.database,
        queues=queues,
        remote=RemoteLeave(
            client=federation.client, servers=_servers(outside, federation), outside=outside, now_ms=now_ms
        ),
    )


def _servers(outside: OutsideMemberships, federation: FederationParts) -> ServersOfRoom:
    return ServersOfRoom(
        server_name=outside.server_name, database=outside.store.database, heads=outside.heads, gate=federation.gate
    )


def make_knock(parts: Parts, join: RoomJoin) -> RoomKnock:
    """What knocks on rooms."""
    store, federation = parts.store, parts.federation
    return RoomKnock(
        database=store.database,
        codec=store.codec,
        queues=parts.queues,
        join=join,
        remote=RemoteKnock(
            client=federation.client,
            servers=_servers(parts.outside, federation),
            outside=parts.outside,
            told_state=ToldState(check=PduCheck(keys=federation.keys)),
            now_ms=now_ms,
        ),
    )


def make_invites(parts: Parts) -> Invites:
    """What sends invites."""
    store, federation = parts.store, parts.federation
    return Invites(
        server_name=parts.author.server_name,
        queues=parts.queues,
        client=federation.client,
        keys=federation.keys,
        gate=federation.gate,
        telling=StateTelling(database=store.database, codec=store.codec),
    )


def make_identity_servers(parts: Parts) -> IdentityServers:
    """What asks identity servers: over connections to which their organisations' certificates belong, like all others
    between servers."""
    federation = parts.federation
    return IdentityServers(
        client=IdentityClient(outgoing=federation.outgoing),
        gate=federation.gate,
        allowed=frozenset(name.lower() for name in parts.tenant.federation.identity_servers),
    )


def membership_services(parts: Parts) -> Services:
    """Build them over what they share."""
    federation, store = parts.federation, parts.store
    participation = Participation(server_name=parts.author.server_name, heads=parts.heads, parsed=parts.parsed)
    check = PduCheck(keys=federation.keys)
    templates = MemberTemplates(server_name=parts.author.server_name, parsed=parts.parsed, now_ms=now_ms)
    take_over = EventTakeOver(queues=parts.queues, keys=federation.keys)
    third_party = ThirdPartyInvites(
        invites=make_invites(parts),
        participation=participation,
        gate=federation.gate,
        identity=make_identity_servers(parts),
    )
    return Services(
        fields={
            "third_party_invites": third_party,
            "bound_address": BoundAddress(
                server_name=parts.author.server_name,
                client=federation.client,
                gate=federation.gate,
                outside=parts.outside,
                third_party_invites=third_party,
            ),
            "invite_receipt": InviteReceipt(
                author=parts.author,
                keys=federation.keys,
                gate=federation.gate,
                participation=participation,
                outside=parts.outside,
                told_state=ToldState(check=check),
                rules=parts.rules,
            ),
            "knock_receipt": KnockReceipt(
                participation=participation,
                gate=federation.gate,
                templates=templates,
                take_over=take_over,
                telling=StateTelling(database=store.database, codec=store.codec),
            ),
            "leave_receipt": LeaveReceipt(participation=participation, templates=templates, take_over=take_over),
        }
    )
