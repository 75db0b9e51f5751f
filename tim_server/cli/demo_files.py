"""Files of the demonstration: encrypted by the sender's client, so that servers keep and carry what they can't read.

Spec: https://spec.matrix.org/v1.19/client-server-api/#sending-encrypted-attachments
"""

import base64
import hashlib
import os

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tim_server.cli.demo_client import DemoFailed, Json

KEY_BYTES = 32
NONCE_BYTES = 8


def seal(data: bytes) -> tuple[bytes, Json]:
    """The file encrypted, and the keys to it, as a message's `file` has them beside its `url`."""
    key, counter = os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES) + bytes(16 - NONCE_BYTES)
    sealed = _crypt(key, counter, data)
    web_key = {"kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": "A256CTR", "k": _url_safe(key), "ext": True}
    hashes = {"sha256": _plain(hashlib.sha256(sealed).digest())}
    return sealed, {"v": "v2", "key": web_key, "iv": _plain(counter), "hashes": hashes}


def unseal(sealed: bytes, file: Json) -> bytes:
    """What is in a file that was downloaded; raises `DemoFailed` where it is not the one that was sent."""
    if _plain(hashlib.sha256(sealed).digest()) != file["hashes"]["sha256"]:
        raise DemoFailed("the file that came is not the one that was sent")
    key = base64.urlsafe_b64decode(file["key"]["k"] + "=")
    return _crypt(key, base64.b64decode(file["iv"] + "=="), sealed)


def _crypt(key: bytes, counter: bytes, data: bytes) -> bytes:
    """AES in counter mode: the same both ways."""
    crypting = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()
    return crypting.update(data) + crypting.finalize()


def _plain(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _url_safe(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
