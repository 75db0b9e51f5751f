"""What the requester was notified of: `notifications.yaml`."""

from typing import Any

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Route


class GetNotificationsRequest(RequestModel):
    """Which page. `only` other than `highlight` means nothing."""

    start: InQuery[str | None] = Field(default=None, alias="from")
    limit: InQuery[int] = Field(default=20, ge=1)
    only: InQuery[str | None] = None


class NotificationResponse(ResponseModel):
    """A notification; pushers, which give profile tags, are none of its causes."""

    room_id: str
    event: RawJson
    actions: list[Any]
    read: bool
    ts: int
    profile_tag: str


class GetNotificationsResponse(ResponseModel):
    """A page; without `next_token` there is nothing more."""

    notifications: list[NotificationResponse]
    next_token: str | UnsetType = UNSET


async def get_notifications(
    server: Homeserver, requester: Requester, request: GetNotificationsRequest
) -> GetNotificationsResponse:
    """`GET /_matrix/client/v3/notifications`: the events that the requester was notified of, newest first.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3notifications
    """
    page = await server.notification_list.page(
        requester, start=request.start, limit=request.limit, only_highlights=request.only == "highlight"
    )
    return GetNotificationsResponse(
        notifications=[
            NotificationResponse(
                room_id=notification.room_id,
                event=RawJson(notification.event),
                actions=list(notification.actions),
                read=notification.is_read,
                ts=notification.ts,
                profile_tag="",
            )
            for notification in page.notifications
        ],
        next_token=UNSET if page.next_token is None else page.next_token,
    )


ROUTES = (Route("GET", "/_matrix/client/v3/notifications", get_notifications),)
