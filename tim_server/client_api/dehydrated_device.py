"""Dehydrated devices, under the paths of MSC3814."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.devices.dehydrate import DeviceToDehydrate
from tim_server.services.homeserver import Homeserver
from tim_server.services.keys.upload import PublishedKeys
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Route


class DehydratedDeviceRequest(RequestModel):
    """Nothing."""


class DehydratedDeviceResponse(ResponseModel):
    """The device, and what brings it back to life."""

    device_id: str
    device_data: RawJson


async def get_dehydrated_device(
    server: Homeserver, requester: Requester, request: DehydratedDeviceRequest
) -> DehydratedDeviceResponse:
    """`GET /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`: the user's dehydrated device, or 404.

    Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
    """
    device = await server.device_dehydration.get(requester.user_id)
    return DehydratedDeviceResponse(device_id=device.device_id, device_data=RawJson(device.device_data))


class PutDehydratedDeviceRequest(RequestModel):
    """The device with its keys, and what brings it back to life."""

    device_id: str
    device_data: dict[str, Any]
    device_keys: dict[str, Any]
    one_time_keys: dict[str, Any] | None = None
    fallback_keys: dict[str, Any] | None = None
    initial_device_display_name: str | None = None


class DeviceIdResponse(ResponseModel):
    """The device."""

    device_id: str


async def put_dehydrated_device(
    server: Homeserver, requester: Requester, request: PutDehydratedDeviceRequest
) -> DeviceIdResponse:
    """`PUT /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`: make a device that waits for its user.

    It takes the place of the one that there was, with all that waits for that.

    Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
    """
    device = DeviceToDehydrate(
        device_id=request.device_id,
        device_data=request.device_data,
        keys=PublishedKeys(
            device_keys=request.device_keys, one_time_keys=request.one_time_keys, fallback_keys=request.fallback_keys
        ),
        display_name=request.initial_device_display_name,
    )
    await server.device_dehydration.put(requester.user_id, device)
    return DeviceIdResponse(device_id=request.device_id)


async def delete_dehydrated_device(
    server: Homeserver, requester: Requester, request: DehydratedDeviceRequest
) -> DeviceIdResponse:
    """`DELETE /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device`: remove the device, or 404.

    Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
    """
    return DeviceIdResponse(device_id=await server.device_dehydration.delete(requester.user_id))


class GetDehydratedEventsRequest(RequestModel):
    """Which device, and after which page."""

    device_id: InPath[str]
    next_batch: str | None = None


class GetDehydratedEventsResponse(ResponseModel):
    """A page of messages to the device; an empty one is the last."""

    events: list[RawJson]
    next_batch: str


async def get_dehydrated_events(
    server: Homeserver, requester: Requester, request: GetDehydratedEventsRequest
) -> GetDehydratedEventsResponse:
    """`POST /_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{deviceId}/events`: what waits for it.

    Messages stay until the device goes, so that bringing it back to life may be tried again.

    Spec: https://github.com/matrix-org/matrix-spec-proposals/pull/3814
    """
    page = await server.device_dehydration.events(requester.user_id, request.device_id, request.next_batch)
    return GetDehydratedEventsResponse(events=[RawJson(event) for event in page.events], next_batch=page.next_batch)


_PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"

ROUTES = (
    Route("GET", _PATH, get_dehydrated_device),
    Route("PUT", _PATH, put_dehydrated_device),
    Route("DELETE", _PATH, delete_dehydrated_device),
    Route("POST", _PATH + "/{deviceId}/events", get_dehydrated_events),
)
