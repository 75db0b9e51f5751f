"""The services of membership across servers: invites, knocks and leaves of rooms, ours and others'."""

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.invited import InviteReceipt
from tim_server.services.rooms.remote.outside import OutsideMemberships
from tim_server.services.rooms.remote.told_state import ToldState
from tim_server.services.rooms.resident.participation import Participation


def membership_services(parts: Parts) -> Services:
    """Build them over what they share."""
    federation = parts.federation
    outside = OutsideMemberships(
        server_name=parts.author.server_name,
        store=parts.store,
        heads=parts.heads,
        invites_max=parts.settings.limits.pending_invites_per_user_max,
    )
    return Services(
        fields={
            "invite_receipt": InviteReceipt(
                author=parts.author,
                keys=federation.keys,
                gate=federation.gate,
                participation=Participation(
                    server_name=parts.author.server_name, heads=parts.heads, parsed=parts.parsed
                ),
                outside=outside,
                told_state=ToldState(check=PduCheck(keys=federation.keys)),
                rules=parts.rules,
            ),
        }
    )
