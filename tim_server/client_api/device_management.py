"""Devices: `device_management.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.storage.devices import Device
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import UNSET, EmptyResponse, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class DeviceResponse(ResponseModel):
    """A device. Addresses are not kept, so `last_seen_ip` is never told."""

    device_id: str
    last_seen_ts: int
    display_name: str | UnsetType = UNSET

    @classmethod
    def of(cls, device: Device) -> "DeviceResponse":
        """The response for a device."""
        return cls(
            device_id=device.device_id,
            display_name=UNSET if device.display_name is None else device.display_name,
            last_seen_ts=device.last_seen_ts,
        )


class GetDevicesRequest(RequestModel):
    """Nothing."""


class GetDevicesResponse(ResponseModel):
    """All devices of the user."""

    devices: list[DeviceResponse]


async def get_devices(server: Homeserver, requester: Requester, request: GetDevicesRequest) -> GetDevicesResponse:
    """`GET /_matrix/client/v3/devices`: the user's devices.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devices
    """
    devices = await server.device_management.list(requester)
    return GetDevicesResponse(devices=[DeviceResponse.of(device) for device in devices])


class GetDeviceRequest(RequestModel):
    """Which device."""

    device_id: InPath[str]


async def get_device(server: Homeserver, requester: Requester, request: GetDeviceRequest) -> DeviceResponse:
    """`GET /_matrix/client/v3/devices/{deviceId}`: one of the user's devices; 404 where there is none of this id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3devicesdeviceid
    """
    return DeviceResponse.of(await server.device_management.get(requester, request.device_id))


class UpdateDeviceRequest(GetDeviceRequest):
    """The new display name."""

    display_name: str | None = None


async def update_device(server: Homeserver, requester: Requester, request: UpdateDeviceRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/devices/{deviceId}`: rename a device; those who share a room with the user hear of it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3devicesdeviceid
    """
    await server.device_management.rename(requester, request.device_id, request.display_name)
    return EmptyResponse()


class DeleteDeviceRequest(GetDeviceRequest):
    """The state of the authentication."""

    auth: dict[str, Any] | None = None


async def delete_device(server: Homeserver, requester: Requester, request: DeleteDeviceRequest) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/devices/{deviceId}`: remove a device after interactive authentication.

    Its tokens, its keys and the messages that wait for it go with it.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3devicesdeviceid
    """
    await server.device_management.remove(requester, [request.device_id], request.auth)
    return EmptyResponse()


class DeleteDevicesRequest(RequestModel):
    """The devices, and the state of the authentication."""

    devices: list[str]
    auth: dict[str, Any] | None = None


async def delete_devices(server: Homeserver, requester: Requester, request: DeleteDevicesRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/delete_devices`: remove several devices after interactive authentication.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3delete_devices
    """
    await server.device_management.remove(requester, request.devices, request.auth)
    return EmptyResponse()


ROUTES = (
    Route("GET", "/_matrix/client/v3/devices", get_devices, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/client/v3/devices/{deviceId}", get_device, auth=Auth.GUEST_OK),
    Route("PUT", "/_matrix/client/v3/devices/{deviceId}", update_device, auth=Auth.GUEST_OK),
    Route("DELETE", "/_matrix/client/v3/devices/{deviceId}", delete_device),
    Route("POST", "/_matrix/client/v3/delete_devices", delete_devices),
)
