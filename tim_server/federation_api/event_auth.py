"""Auth chains of events: `event_auth.yaml`."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import StreamedJson
from tim_server.web.route import Auth, Route
from tim_server.web.streamed_json import object_of_arrays


class GetEventAuthRequest(RequestModel):
    """Of which event."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]


async def get_event_auth(server: Homeserver, origin: ServerName, request: GetEventAuthRequest) -> StreamedJson:
    """`GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}`: the auth chain of an event.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1event_authroomideventid
    """
    chain = await server.resident_state.auth_chain(origin, request.room_id, request.event_id)
    return StreamedJson(pieces=object_of_arrays({"auth_chain": chain}))


ROUTES = (Route("GET", "/_matrix/federation/v1/event_auth/{roomId}/{eventId}", get_event_auth, auth=Auth.SERVER),)
