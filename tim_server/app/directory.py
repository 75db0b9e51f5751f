"""The services that find rooms and users."""

from tim_server.app.accounts import Services
from tim_server.app.parts import Parts
from tim_server.services.directory.hierarchy import HierarchyPolicy, SpaceHierarchy
from tim_server.services.directory.hierarchy_for_servers import HierarchyForServers
from tim_server.services.directory.mutual_rooms import MutualRooms
from tim_server.services.directory.public_rooms import DirectoryPolicy, PublicRooms
from tim_server.services.directory.remote_hierarchy import RemoteHierarchy
from tim_server.services.directory.remote_public_rooms import RemotePublicRooms
from tim_server.services.directory.summarise import RoomSummaries
from tim_server.services.directory.users import UserDirectory, UserDirectoryPolicy


def directory_services(parts: Parts) -> Services:
    """Build them over the store."""
    database, codec, limits = parts.store.database, parts.store.codec, parts.settings.limits
    remote = RemoteHierarchy(server_name=parts.author.server_name, client=parts.federation.client)
    return Services(
        fields={
            "public_rooms": PublicRooms(
                database=database,
                codec=codec,
                policy=DirectoryPolicy(
                    page_rooms_max=limits.directory_page_rooms_max,
                    requires_account=parts.tenant.rooms.directory_requires_account,
                    is_told_to_servers=parts.tenant.rooms.directory_told_to_servers,
                ),
            ),
            "remote_public_rooms": RemotePublicRooms(
                client=parts.federation.client,
                gate=parts.federation.gate,
                page_rooms_max=limits.directory_page_rooms_max,
            ),
            "room_summaries": RoomSummaries(
                server_name=parts.author.server_name,
                database=database,
                codec=codec,
                remote=remote,
                aliases=parts.aliases,
                gate=parts.federation.gate,
            ),
            "space_hierarchy": SpaceHierarchy(
                database=database,
                codec=codec,
                remote=remote,
                policy=HierarchyPolicy(
                    depth_max=limits.space_depth_max,
                    rooms_max=limits.space_rooms_max,
                    page_rooms_max=limits.space_page_rooms_max,
                ),
            ),
            "hierarchy_for_servers": HierarchyForServers(
                server_name=parts.author.server_name, database=database, codec=codec
            ),
            "user_directory": UserDirectory(
                database=database,
                codec=codec,
                policy=UserDirectoryPolicy(
                    results_max=parts.tenant.user_directory.results_max,
                    search_all_users=parts.tenant.user_directory.search_all_users,
                ),
            ),
            "mutual_rooms": MutualRooms(database=database),
        }
    )
