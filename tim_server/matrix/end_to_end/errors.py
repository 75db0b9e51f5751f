"""Errors of end-to-end encryption.

Spec: https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption
"""

from tim_server.matrix.errors import MatrixError


class InvalidSignature(MatrixError):
    """M_INVALID_SIGNATURE: a signature is missing or not right."""

    errcode = "M_INVALID_SIGNATURE"
    status = 400
    default_message = "A signature is missing or not right"


class WrongRoomKeysVersion(MatrixError):
    """M_WRONG_ROOM_KEYS_VERSION: the version of the key backup is not the current one, which `current_version`
    names."""

    errcode = "M_WRONG_ROOM_KEYS_VERSION"
    status = 403
    default_message = "This is not the current version of the key backup"
