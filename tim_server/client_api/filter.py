"""Filters: `filter.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Route


class DefineFilterRequest(RequestModel):
    """The definition."""

    user_id: InPath[UserId]
    definition: WholeBody[dict[str, Any]]


class DefineFilterResponse(ResponseModel):
    """The id to use in requests."""

    filter_id: str


async def define_filter(server: Homeserver, requester: Requester, request: DefineFilterRequest) -> DefineFilterResponse:
    """`POST /_matrix/client/v3/user/{userId}/filter`: keep a filter; equal definitions get the same id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter
    """
    return DefineFilterResponse(filter_id=await server.filters.define(requester, request.user_id, request.definition))


class GetFilterRequest(RequestModel):
    """Whose filter, and its id."""

    user_id: InPath[UserId]
    filter_id: InPath[str]


async def get_filter(server: Homeserver, requester: Requester, request: GetFilterRequest) -> RawJson:
    """`GET /_matrix/client/v3/user/{userId}/filter/{filterId}`: the definition as it was given.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridfilterfilterid
    """
    return RawJson(await server.filters.definition(requester, request.user_id, request.filter_id))


ROUTES = (
    Route("POST", "/_matrix/client/v3/user/{userId}/filter", define_filter),
    Route("GET", "/_matrix/client/v3/user/{userId}/filter/{filterId}", get_filter),
)
