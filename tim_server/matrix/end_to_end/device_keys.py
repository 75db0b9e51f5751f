"""The identity keys of a device.

Spec: https://spec.matrix.org/v1.19/client-server-api/#device-keys
"""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix.end_to_end.errors import InvalidSignature
from tim_server.matrix.end_to_end.signed_objects import (
    ED25519,
    encode_object,
    is_signed,
    public_key_bytes,
    signatures_by,
    signed_part,
)
from tim_server.matrix.errors import BadJson, InvalidParam, TooLarge
from tim_server.matrix.identifiers import UserId

DEVICE_KEYS_BYTES_MAX = 16_384


def read_device_keys(value: Mapping[str, Any], user_id: UserId, device_id: str) -> dict[str, Any]:
    """The keys with the owner's signatures, and no others', as they are kept.

    Where the device has an ed25519 key and says that it has signed, its signature must be right: `InvalidSignature`.
    Raises `BadJson` for another form, `InvalidParam` for keys of another device, and `TooLarge`.
    """
    _check_form(value)
    if value["user_id"] != user_id or value["device_id"] != device_id:
        raise InvalidParam("The keys are those of another device")
    signatures = signatures_by(value, user_id)
    kept = signed_part(value) | {"signatures": {str(user_id): signatures}}
    if len(encode_object(kept)) > DEVICE_KEYS_BYTES_MAX:
        raise TooLarge(f"Device keys must have at most {DEVICE_KEYS_BYTES_MAX} bytes")
    key = device_key(value)
    if ED25519 + device_id in signatures and key is not None and not is_signed(value, user_id, device_id, key):
        raise InvalidSignature("The device's signature of its keys is not right")
    return kept


def device_key(value: Mapping[str, Any]) -> str | None:
    """The ed25519 key that the device signs with; None where it has none."""
    key = value["keys"].get(f"{ED25519}{value['device_id']}")
    return key if public_key_bytes(key) is not None else None


def _check_form(value: Mapping[str, Any]) -> None:
    for name in ("user_id", "device_id"):
        if not isinstance(value.get(name), str):
            raise BadJson(f"device_keys.{name} must be a string")
    algorithms, keys = value.get("algorithms"), value.get("keys")
    if not isinstance(algorithms, list) or not all(isinstance(algorithm, str) for algorithm in algorithms):
        raise BadJson("device_keys.algorithms must be a list of strings")
    if not isinstance(keys, dict) or not all(isinstance(key, str) for key in keys.values()):
        raise BadJson("device_keys.keys must be an object of strings")
    if not isinstance(value.get("signatures"), dict):
        raise BadJson("device_keys.signatures must be an object")
