"""Searching users: `users.yaml`."""

from typing import Annotated

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Route


class SearchUserDirectoryRequest(RequestModel):
    """What to look for, and how many results at most."""

    search_term: str
    limit: Annotated[int, Field(gt=0)] = 10


class DirectoryUser(ResponseModel):
    """A user who was found."""

    user_id: str
    display_name: str | UnsetType = UNSET
    avatar_url: str | UnsetType = UNSET


class SearchUserDirectoryResponse(ResponseModel):
    """Who was found; `limited`: there are more."""

    results: list[DirectoryUser]
    limited: bool


async def search_user_directory(
    server: Homeserver, requester: Requester, request: SearchUserDirectoryRequest
) -> SearchUserDirectoryResponse:
    """`POST /_matrix/client/v3/user_directory/search`: users by the beginnings of their names' words.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch
    """
    users, limited = await server.user_directory.search(requester, request.search_term, request.limit)
    return SearchUserDirectoryResponse(
        results=[
            DirectoryUser(
                user_id=user.user_id, display_name=user.display_name or UNSET, avatar_url=user.avatar_url or UNSET
            )
            for user in users
        ],
        limited=limited,
    )


ROUTES = (Route("POST", "/_matrix/client/v3/user_directory/search", search_user_directory, rate_limit="directory"),)
