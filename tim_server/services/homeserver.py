"""One homeserver: the services of a tenant, as endpoints get them.

Spec: https://spec.matrix.org/v1.19/client-server-api/
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName
from tim_server.services.account_data.keep import AccountData
from tim_server.services.account_data.tags import RoomTags
from tim_server.services.accounts.authenticator import Authenticator
from tim_server.services.accounts.change_password import PasswordChange
from tim_server.services.accounts.deactivate import Deactivation
from tim_server.services.accounts.directory import AccountDirectory
from tim_server.services.accounts.login import Login
from tim_server.services.accounts.logout import Logout
from tim_server.services.accounts.openid import OpenIdTokens
from tim_server.services.accounts.refresh import Refresh
from tim_server.services.accounts.register import Registration
from tim_server.services.accounts.registration_tokens import RegistrationTokens
from tim_server.services.accounts.shared_secret import SharedSecretRegistration
from tim_server.services.devices.dehydrate import DeviceDehydration
from tim_server.services.devices.manage import DeviceManagement
from tim_server.services.directory.hierarchy import SpaceHierarchy
from tim_server.services.directory.hierarchy_for_servers import HierarchyForServers
from tim_server.services.directory.mutual_rooms import MutualRooms
from tim_server.services.directory.public_rooms import PublicRooms
from tim_server.services.directory.remote_public_rooms import RemotePublicRooms
from tim_server.services.directory.summarise import RoomSummaries
from tim_server.services.directory.users import UserDirectory
from tim_server.services.discovery import Capabilities, WellKnown
from tim_server.services.filters.define import Filters
from tim_server.services.key_backup.keys import BackupKeys
from tim_server.services.key_backup.versions import BackupVersions
from tim_server.services.keys.changes import KeyChanges
from tim_server.services.keys.claim import KeyClaim
from tim_server.services.keys.cross_sign import CrossSigningUpload
from tim_server.services.keys.query import KeyQuery
from tim_server.services.keys.sign import SignatureUpload
from tim_server.services.keys.upload import KeyUpload
from tim_server.services.keys.user_devices import UserDevices
from tim_server.services.media.announce import MediaAnnouncement
from tim_server.services.media.delete import MediaDeletion
from tim_server.services.media.download import MediaDownload
from tim_server.services.media.moderate import MediaModeration
from tim_server.services.media.thumbnails import MediaThumbnails
from tim_server.services.media.upload import MediaUpload
from tim_server.services.notifications.list import NotificationList
from tim_server.services.presence.ask import Presence
from tim_server.services.profile.change import ProfileChange
from tim_server.services.profile.read import ProfileReader
from tim_server.services.push_rules.change import PushRuleChange
from tim_server.services.push_rules.read import PushRules
from tim_server.services.receipts.mark_read import ReadMarkers
from tim_server.services.reports.file import Reporting
from tim_server.services.reports.review import ReportReview
from tim_server.services.rooms.aliases import RoomAliases
from tim_server.services.rooms.context import RoomContext
from tim_server.services.rooms.create import RoomCreation
from tim_server.services.rooms.deletion.request import RoomDeletion
from tim_server.services.rooms.event import RoomEvent
from tim_server.services.rooms.event_by_time import EventByTime
from tim_server.services.rooms.invite_address import AddressInvites
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.knock import RoomKnock
from tim_server.services.rooms.leave import RoomForget, RoomLeave
from tim_server.services.rooms.members import RoomMembers
from tim_server.services.rooms.messages import RoomHistory
from tim_server.services.rooms.moderate import Moderation
from tim_server.services.rooms.publish import RoomPublication
from tim_server.services.rooms.redact import Redaction
from tim_server.services.rooms.relations import RoomRelations
from tim_server.services.rooms.remote.bound_address import BoundAddress
from tim_server.services.rooms.remote.invited import InviteReceipt
from tim_server.services.rooms.remote.third_party_invite import ThirdPartyInvites
from tim_server.services.rooms.resident.event import ResidentEvent
from tim_server.services.rooms.resident.event_by_time import ResidentEventByTime
from tim_server.services.rooms.resident.history import ResidentHistory
from tim_server.services.rooms.resident.knock import KnockReceipt
from tim_server.services.rooms.resident.leave import LeaveReceipt
from tim_server.services.rooms.resident.make_join import JoinTemplates
from tim_server.services.rooms.resident.send_join import JoinReceipt
from tim_server.services.rooms.resident.state import ResidentState
from tim_server.services.rooms.send import RoomSender
from tim_server.services.rooms.state import RoomState
from tim_server.services.rooms.threads import RoomThreads
from tim_server.services.rooms.upgrade import RoomUpgrade
from tim_server.services.servers.authenticate import ServerAuthenticator
from tim_server.services.servers.notary import Notary
from tim_server.services.servers.publish_keys import KeyPublication
from tim_server.services.servers.resolve_alias import AliasResolution
from tim_server.services.sync.event_stream import EventStream
from tim_server.services.sync.initial_sync import InitialSync
from tim_server.services.sync.sync import Sync
from tim_server.services.to_device.send import ToDeviceSender
from tim_server.services.transactions.receive import TransactionReceiver
from tim_server.services.transactions.review import DestinationReview
from tim_server.services.trust.review import TrustReview
from tim_server.services.typing.set_typing import Typing
from tim_server.services.url_previews.preview import UrlPreviews


@dataclass(frozen=True, slots=True, kw_only=True)
class Homeserver:
    """The services of one tenant, each made once by the composition root."""

    server_name: ServerName
    authenticator: Authenticator
    server_authenticator: ServerAuthenticator
    key_publication: KeyPublication
    notary: Notary
    trust_review: TrustReview
    transaction_receiver: TransactionReceiver
    destination_review: DestinationReview
    registration: Registration
    registration_tokens: RegistrationTokens
    shared_secret_registration: SharedSecretRegistration
    login: Login
    logout: Logout
    refresh: Refresh
    password_change: PasswordChange
    deactivation: Deactivation
    account_directory: AccountDirectory
    device_management: DeviceManagement
    device_dehydration: DeviceDehydration
    key_upload: KeyUpload
    key_query: KeyQuery
    key_claim: KeyClaim
    user_devices: UserDevices
    key_changes: KeyChanges
    cross_signing_upload: CrossSigningUpload
    signature_upload: SignatureUpload
    to_device_sender: ToDeviceSender
    backup_versions: BackupVersions
    backup_keys: BackupKeys
    openid_tokens: OpenIdTokens
    profile_reader: ProfileReader
    profile_change: ProfileChange
    account_data: AccountData
    room_tags: RoomTags
    push_rules: PushRules
    push_rule_change: PushRuleChange
    notification_list: NotificationList
    filters: Filters
    media_announcement: MediaAnnouncement
    media_upload: MediaUpload
    media_download: MediaDownload
    media_deletion: MediaDeletion
    media_moderation: MediaModeration
    media_thumbnails: MediaThumbnails
    url_previews: UrlPreviews | None
    """None where the profile or the configuration forbids them."""
    well_known: WellKnown
    capabilities: Capabilities
    room_creation: RoomCreation
    room_deletion: RoomDeletion
    room_upgrade: RoomUpgrade
    room_sender: RoomSender
    redaction: Redaction
    room_join: RoomJoin
    room_knock: RoomKnock
    room_leave: RoomLeave
    room_forget: RoomForget
    invite_receipt: InviteReceipt
    knock_receipt: KnockReceipt
    leave_receipt: LeaveReceipt
    third_party_invites: ThirdPartyInvites
    bound_address: BoundAddress
    moderation: Moderation
    address_invites: AddressInvites
    room_aliases: RoomAliases
    alias_resolution: AliasResolution
    room_publication: RoomPublication
    room_event: RoomEvent
    room_state: RoomState
    room_members: RoomMembers
    room_history: RoomHistory
    room_context: RoomContext
    room_relations: RoomRelations
    room_threads: RoomThreads
    event_by_time: EventByTime
    resident_history: ResidentHistory
    resident_event: ResidentEvent
    resident_event_by_time: ResidentEventByTime
    resident_state: ResidentState
    join_templates: JoinTemplates
    join_receipt: JoinReceipt
    reporting: Reporting
    report_review: ReportReview
    public_rooms: PublicRooms
    remote_public_rooms: RemotePublicRooms
    room_summaries: RoomSummaries
    space_hierarchy: SpaceHierarchy
    hierarchy_for_servers: HierarchyForServers
    mutual_rooms: MutualRooms
    user_directory: UserDirectory
    read_markers: ReadMarkers
    typing: Typing
    presence: Presence
    sync: Sync
    event_stream: EventStream
    initial_sync: InitialSync
