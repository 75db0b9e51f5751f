"""Keys as clients make them: those of a device, and the cross-signing keys of a user."""

from dataclasses import dataclass, field
from typing import Any

import nacl.signing

from tests.people import Person
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, sign_json


def public_part(key: nacl.signing.SigningKey) -> str:
    """The public key in unpadded Base64."""
    return unpadded_base64(bytes(key.verify_key))


def signed(value: dict[str, Any], user_id: str, key_id: str, key: nacl.signing.SigningKey) -> dict[str, Any]:
    """The object with one more signature."""
    return sign_json(value, user_id, SigningKey(key_id=f"ed25519:{key_id}", key=key))


@dataclass(frozen=True)
class DeviceIdentity:
    """The identity of a person's device."""

    person: Person
    key: nacl.signing.SigningKey = field(default_factory=nacl.signing.SigningKey.generate)

    @property
    def device_keys(self) -> dict[str, Any]:
        """What the device uploads of itself."""
        device_id = self.person.device_id
        keys = {
            "user_id": self.person.user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {f"ed25519:{device_id}": public_part(self.key), f"curve25519:{device_id}": "x" * 43},
        }
        return self.sign(keys)

    def sign(self, value: dict[str, Any]) -> dict[str, Any]:
        """The object, signed by the device."""
        return signed(value, self.person.user_id, self.person.device_id, self.key)

    def one_time_keys(self, *ids: str, **more: Any) -> dict[str, Any]:
        """Signed keys with these ids; their value differs with each call."""
        return {f"signed_curve25519:{key_id}": self.one_time_key(**more) for key_id in ids}

    def one_time_key(self, **more: Any) -> dict[str, Any]:
        """A signed key."""
        return self.sign({"key": public_part(nacl.signing.SigningKey.generate()), **more})

    async def publish(self) -> None:
        """Upload the identity."""
        await self.person.post("keys/upload", {"device_keys": self.device_keys})


@dataclass(frozen=True)
class CrossSigning:
    """The three cross-signing keys of a user."""

    user_id: str
    keys: dict[str, nacl.signing.SigningKey] = field(
        default_factory=lambda: {
            usage: nacl.signing.SigningKey.generate() for usage in ("master", "self_signing", "user_signing")
        }
    )

    def id_of(self, usage: str) -> str:
        """The public part of a key."""
        return public_part(self.keys[usage])

    def sign(self, usage: str, value: dict[str, Any]) -> dict[str, Any]:
        """The object, signed by one of the keys."""
        return signed(value, self.user_id, self.id_of(usage), self.keys[usage])

    def key(self, usage: str) -> dict[str, Any]:
        """A key as it is uploaded; the master key has signed it, unless it is the master key."""
        name = self.id_of(usage)
        value = {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{name}": name}}
        return value if usage == "master" else self.sign("master", value)

    @property
    def upload(self) -> dict[str, Any]:
        """A request that uploads all three."""
        return {f"{usage}_key": self.key(usage) for usage in self.keys}
