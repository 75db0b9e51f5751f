"""End-to-end encryption of the demonstration's clients: Olm between devices, Megolm in rooms.

The servers carry keys and ciphertext, and can read neither messages nor files. The cryptography is vodozemac's, as in
other Matrix clients. This is no client to take as a model: it trusts each device that it sees, and forgets its keys.

Spec: https://spec.matrix.org/v1.19/client-server-api/#end-to-end-encryption
"""

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tim_server.cli.demo_client import API, DemoClient, DemoFailed, Json
from tim_server.cli.failures import CommandFailed
from tim_server.matrix.canonical_json import decode, encode

if TYPE_CHECKING:
    import vodozemac

OLM = "m.olm.v1.curve25519-aes-sha2"
MEGOLM = "m.megolm.v1.aes-sha2"
ONE_TIME_KEYS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherDevice:
    """A device of somebody else, whose keys are signed by itself."""

    user_id: str
    device_id: str
    curve25519: str
    ed25519: str


@dataclass(slots=True, kw_only=True)
class Device:
    """The keys of one account's only device."""

    client: DemoClient
    account: "vodozemac.Account"
    _outbound: dict[str, "vodozemac.GroupSession"] = field(default_factory=dict)
    _inbound: dict[str, "vodozemac.InboundGroupSession"] = field(default_factory=dict)

    async def publish_keys(self) -> None:
        """Upload the device's keys, and some for others to begin conversations with."""
        self.account.generate_one_time_keys(ONE_TIME_KEYS)
        one_time_keys = {
            f"signed_curve25519:{key_id}": self._signed({"key": key.to_base64()})
            for key_id, key in self.account.one_time_keys.items()
        }
        keys = {
            f"curve25519:{self.client.device_id}": self.account.curve25519_key.to_base64(),
            f"ed25519:{self.client.device_id}": self.account.ed25519_key.to_base64(),
        }
        device = {
            "user_id": self.client.user_id,
            "device_id": self.client.device_id,
            "algorithms": [OLM, MEGOLM],
            "keys": keys,
        }
        body = {"device_keys": self._signed(device), "one_time_keys": one_time_keys}
        await self.client.call("POST", f"{API}/keys/upload", body)
        self.account.mark_keys_as_published()

    async def share_room_key(self, room_id: str, user_id: str) -> int:
        """Make a key for what this device sends into the room, and send it to all devices of the user, encrypted for
        each; how many these are."""
        session = self._outbound[room_id] = _vodozemac().GroupSession()
        self._inbound[session.session_id] = _vodozemac().InboundGroupSession(session.session_key)
        key = {
            "algorithm": MEGOLM,
            "room_id": room_id,
            "session_id": session.session_id,
            "session_key": session.session_key.to_base64(),
        }
        devices = await self._devices_of(user_id)
        messages = {each.device_id: self._encrypt_for(each, one_time, key) for each, one_time in devices}
        await self.client.send_to_devices("m.room.encrypted", {user_id: messages})
        return len(messages)

    def encrypt(self, room_id: str, content: Json) -> Json:
        """The content of the `m.room.encrypted` event that carries a message."""
        session = self._outbound[room_id]
        payload = {"type": "m.room.message", "content": content, "room_id": room_id}
        return {
            "algorithm": MEGOLM,
            "sender_key": self.account.curve25519_key.to_base64(),
            "device_id": self.client.device_id,
            "session_id": session.session_id,
            "ciphertext": session.encrypt(encode(payload)).to_base64(),
        }

    def decrypt(self, event: Json, room_id: str) -> Json | None:
        """The message's content in an encrypted event; None before its key has come."""
        content = event["content"]
        session = self._inbound.get(content.get("session_id", ""))
        if session is None:
            return None
        message = _vodozemac().MegolmMessage.from_base64(content["ciphertext"])
        payload: Any = decode(session.decrypt(message).plaintext)
        if payload["room_id"] != room_id:
            raise DemoFailed("a message was encrypted for another room than it stands in")
        found: Json = payload["content"]
        return found

    def absorb(self, news: Json) -> None:
        """Take the keys of rooms from what came for this device in a sync."""
        for event in news.get("to_device", {}).get("events", []):
            if event["type"] == "m.room.encrypted":
                self._take_key(event)

    def _take_key(self, event: Json) -> None:
        content = event["content"]
        own = content["ciphertext"].get(self.account.curve25519_key.to_base64())
        if own is None:
            return
        vodozemac = _vodozemac()
        sender_key = vodozemac.Curve25519PublicKey.from_base64(content["sender_key"])
        message = vodozemac.PreKeyMessage.from_base64(own["body"])
        _, plaintext = self.account.create_inbound_session(sender_key, message)
        payload: Any = decode(plaintext)
        said = (payload["sender"], payload["recipient"], payload["recipient_keys"]["ed25519"])
        if said != (event["sender"], self.client.user_id, self.account.ed25519_key.to_base64()):
            raise DemoFailed("a key was encrypted for somebody else, or by somebody else than it says")
        key = payload["content"]
        session = vodozemac.InboundGroupSession(vodozemac.SessionKey(key["session_key"]))
        self._inbound[session.session_id] = session

    async def _devices_of(self, user_id: str) -> list[tuple[OtherDevice, str]]:
        """The user's devices, each with a one-time key, as their server gives them out."""
        answer = await self.client.call("POST", f"{API}/keys/query", {"device_keys": {user_id: []}})
        found = [
            _checked_device(user_id, device_id, keys)
            for device_id, keys in answer.get("device_keys", {}).get(user_id, {}).items()
        ]
        if not found:
            raise DemoFailed(f"{user_id} has no devices: {answer.get('failures')}")
        wanted = {user_id: {each.device_id: "signed_curve25519" for each in found}}
        claimed = await self.client.call("POST", f"{API}/keys/claim", {"one_time_keys": wanted})
        pairs = []
        for device in found:
            given = claimed["one_time_keys"].get(user_id, {}).get(device.device_id)
            if given:  # devices of former runs have none left
                (key,) = given.values()
                _check_signature(key, device.user_id, device.device_id, device.ed25519)
                pairs.append((device, key["key"]))
        return pairs

    def _encrypt_for(self, device: OtherDevice, one_time_key: str, key: Json) -> Json:
        vodozemac = _vodozemac()
        payload = {
            "type": "m.room_key",
            "content": key,
            "sender": self.client.user_id,
            "recipient": device.user_id,
            "recipient_keys": {"ed25519": device.ed25519},
            "keys": {"ed25519": self.account.ed25519_key.to_base64()},
        }
        session = self.account.create_outbound_session(
            vodozemac.Curve25519PublicKey.from_base64(device.curve25519),
            vodozemac.Curve25519PublicKey.from_base64(one_time_key),
        )
        kind, ciphertext = session.encrypt(encode(payload)).to_parts()
        return {
            "algorithm": OLM,
            "sender_key": self.account.curve25519_key.to_base64(),
            "ciphertext": {device.curve25519: {"type": kind, "body": _unpadded(ciphertext)}},
        }

    def _signed(self, value: Json) -> Json:
        signature = self.account.sign(encode(value)).to_base64()
        return {**value, "signatures": {self.client.user_id: {f"ed25519:{self.client.device_id}": signature}}}


def check_installed() -> None:
    """Raises `CommandFailed` where the cryptography is not installed."""
    _vodozemac()


def make_device(client: DemoClient) -> Device:
    """New keys for the client's device."""
    return Device(client=client, account=_vodozemac().Account())


def _vodozemac() -> Any:
    try:
        import vodozemac
    except ImportError:
        raise CommandFailed("the demonstration encrypts with vodozemac, which comes with the extra embedded") from None
    return vodozemac


def _checked_device(user_id: str, device_id: str, keys: Json) -> OtherDevice:
    device = OtherDevice(
        user_id=user_id,
        device_id=device_id,
        curve25519=keys["keys"][f"curve25519:{device_id}"],
        ed25519=keys["keys"][f"ed25519:{device_id}"],
    )
    if (keys["user_id"], keys["device_id"]) != (user_id, device_id):
        raise DemoFailed(f"the keys of {user_id} are those of somebody else")
    _check_signature(keys, user_id, device_id, device.ed25519)
    return device


def _check_signature(value: Json, user_id: str, device_id: str, ed25519: str) -> None:
    vodozemac = _vodozemac()
    signature = vodozemac.Ed25519Signature.from_base64(value["signatures"][user_id][f"ed25519:{device_id}"])
    signed = {key: part for key, part in value.items() if key not in ("signatures", "unsigned")}
    try:
        vodozemac.Ed25519PublicKey.from_base64(ed25519).verify_signature(encode(signed), signature)
    except ValueError:
        raise DemoFailed(f"the keys of {user_id} are not signed by the device") from None


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()
