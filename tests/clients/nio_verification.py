"""Verification by comparing numbers, as applications on matrix-nio do it.

matrix-nio knows the messages of `m.sas.v1`, but neither the framework around them (request, ready, done), which
applications add, nor cross-signing. Specification: https://spec.matrix.org/v1.19/client-server-api/#device-verification
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

import nio.crypto.olm_machine
from nio import KeyVerificationStart, ToDeviceEvent, ToDeviceMessage, UnknownToDeviceEvent
from nio.api import Api
from nio.crypto.device import OlmDevice
from nio.crypto.sas import Sas
from unpaddedbase64 import encode_base64

from tests.clients.nio_person import Person

METHOD = "m.sas.v1"


class SpecifiedSas(Sas):  # type: ignore[misc]
    """`Sas` as specified. That of matrix-nio 0.26.0 agrees with nobody but itself: the commitment is in hexadecimal
    (https://github.com/matrix-nio/matrix-nio/issues/570), and the MAC method is not the one that it calculates."""

    _mac_normal = "hkdf-hmac-sha256.v2"
    _mac_v1 = [_mac_normal]  # noqa: RUF012

    @classmethod
    def from_key_verification_start(
        cls, own_user: str, own_device: str, own_fp_key: str, other_olm_device: OlmDevice, event: KeyVerificationStart
    ) -> "SpecifiedSas":
        """The side that is asked."""
        sas: SpecifiedSas = super().from_key_verification_start(
            own_user, own_device, own_fp_key, other_olm_device, event
        )
        sas.commitment = _commitment(sas.pubkey, event.source["content"])
        return sas

    def _check_commitment(self, key: str) -> bool:
        return bool(self.commitment == _commitment(key, self.start_verification().content))


def _commitment(key: str, start: dict[str, Any]) -> str:
    return encode_base64(hashlib.sha256((key + Api.to_canonical_json(start)).encode()).digest())


nio.crypto.olm_machine.Sas = SpecifiedSas


@dataclass(slots=True, kw_only=True)
class Verification:
    """A verification that another device asks for."""

    person: Person
    _request: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.person.client.add_to_device_callback(self._keep_request, UnknownToDeviceEvent)

    async def accept(self) -> None:
        """Wait for the request, and say that one is ready."""
        await self.person.until(lambda: bool(self._request))
        await self._tell("ready", {"from_device": self.person.device_id, "methods": [METHOD]})

    async def agree_to_compare(self) -> None:
        """Wait for the proposal to compare numbers, and accept it."""
        await self.person.until(lambda: self._transaction_id in self.person.client.key_verifications)
        await self.person.call("accept_key_verification", self._transaction_id)

    async def numbers(self) -> list[int]:
        """The numbers to compare, once there are some."""
        sas = self._sas
        await self.person.until(lambda: sas.established_sas is not None)
        return list(sas.get_decimals())

    async def confirm_numbers(self) -> None:
        """Say that the numbers are the same, and that one is done when the other has said so too."""
        sas = self._sas
        await self.person.call("confirm_short_auth_string", self._transaction_id)
        await self.person.until(lambda: bool(sas.verified or sas.canceled))
        assert sas.verified, sas.cancel_reason
        await self._tell("done", {})

    @property
    def _transaction_id(self) -> str:
        return str(self._request["content"]["transaction_id"])

    @property
    def _sas(self) -> Sas:
        return self.person.client.key_verifications[self._transaction_id]

    async def _tell(self, what: str, content: dict[str, Any]) -> None:
        asked = self._request
        content |= {"transaction_id": self._transaction_id}
        device_id = asked["content"]["from_device"]
        message = ToDeviceMessage(f"m.key.verification.{what}", asked["sender"], device_id, content)
        await self.person.call("to_device", message)

    async def _keep_request(self, event: ToDeviceEvent) -> None:
        if event.source["type"] == "m.key.verification.request":
            self._request = event.source
