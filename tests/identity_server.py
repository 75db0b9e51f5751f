"""An identity server as it should be: it hashes, keeps bindings and invites, signs, and tells homeservers of bindings.

async with run_identity_server(network, "id.example") as identity:
    identity.bound["email", "bob@hospital.example"] = bob.user_id
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nacl.signing
from aiohttp import web

from tests.hospitals import Network
from tests.peer import Asked, Peer, run_peer
from tests.peer_room import FEDERATION
from tests.people import Person
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.third_party_addresses import ThirdPartyAddress

IDENTITY = "/_matrix/identity/v2"
TOKEN = "token-of-the-identity-server"


def error(status: int, errcode: str, **more: Any) -> web.Response:
    return web.json_response({"errcode": errcode, "error": "no", **more}, status=status)


@dataclass(repr=False)
class IdentityServer:
    """What it knows: who has which address, by medium and address, and the invites that it keeps. `outdated_peppers`:
    how often it changes its pepper before a look-up."""

    peer: Peer
    bound: dict[tuple[str, str], str] = field(default_factory=dict)
    stored: list[dict[str, Any]] = field(default_factory=list)
    valid_keys: set[str] = field(default_factory=set)
    pepper: str = "matrixrocks"
    outdated_peppers: int = 0

    @property
    def name(self) -> str:
        return str(self.peer.name)

    @property
    def public_key(self) -> str:
        return unpadded_base64(self.peer.author.key.verify_key)

    def begin(self) -> None:
        """Forget everything, and answer as an identity server does."""
        self.bound, self.stored, self.valid_keys = {}, [], {self.public_key}
        self.outdated_peppers = 0
        self.peer.requests.clear()
        self.peer.answers.clear()
        self.peer.answers["GET", f"{IDENTITY}/hash_details"] = self._hash_details
        self.peer.answers["POST", f"{IDENTITY}/lookup"] = self._look_up
        self.peer.answers["POST", f"{IDENTITY}/store-invite"] = self._store_invite
        self.peer.answers["GET", f"{IDENTITY}/pubkey/isvalid"] = self._is_valid
        self.peer.answers["GET", f"{IDENTITY}/pubkey/ephemeral/isvalid"] = self._is_valid

    def answer(self, operation: str, answer: Any) -> None:
        """Have an operation answered like this from now on."""
        method = "GET" if operation == "hash_details" else "POST"
        self.peer.answers[method, f"{IDENTITY}/{operation}"] = answer

    async def bind(self, person: Person, medium: str, address: str) -> int:
        """The person turns out to have the address: tell their homeserver; the status of its answer."""
        self.bound[medium, address] = person.user_id
        invites = [
            {
                "medium": medium,
                "address": address,
                "mxid": person.user_id,
                "room_id": each["room_id"],
                "sender": each["sender"],
                "signed": self.signed(person.user_id, each["token"]),
            }
            for each in self.stored
            if (each["medium"], each["address"]) == (medium, address)
        ]
        notice = {"medium": medium, "address": address, "mxid": person.user_id, "invites": invites}
        server = person.user_id.partition(":")[2]
        status, _ = await self.peer.ask(server, "PUT", f"{FEDERATION}/v1/3pid/onbind", notice)
        return status

    def signed(self, user_id: str, token: str) -> dict[str, Any]:
        """What it signs once it knows the user."""
        return sign_json({"mxid": user_id, "token": token}, self.name, self.peer.author.key)

    async def _hash_details(self, asked: Asked) -> Any:
        if asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "M_UNAUTHORIZED")
        return {"lookup_pepper": self.pepper, "algorithms": ["none", "sha256"]}

    async def _look_up(self, asked: Asked) -> Any:
        if self.outdated_peppers > 0:
            self.outdated_peppers, self.pepper = self.outdated_peppers - 1, secrets.token_hex(4)
        body = asked.json
        if body["algorithm"] != "sha256" or asked.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(400, "M_INVALID_PARAM")
        if body["pepper"] != self.pepper:
            return error(400, "M_INVALID_PEPPER", algorithm="sha256", lookup_pepper=self.pepper)
        hashes = {
            ThirdPartyAddress(medium=medium, address=address).hashed(self.pepper): user_id
            for (medium, address), user_id in self.bound.items()
        }
        return {"mappings": {each: hashes[each] for each in body["addresses"] if each in hashes}}

    async def _store_invite(self, asked: Asked) -> Any:
        body = asked.json
        if body["medium"] != "email":
            return error(400, "M_UNRECOGNIZED")
        if (body["medium"], body["address"]) in self.bound:
            return error(400, "M_THREEPID_IN_USE", mxid=self.bound[body["medium"], body["address"]])
        self.stored.append({**body, "token": secrets.token_hex(16)})
        ephemeral = unpadded_base64(bytes(nacl.signing.SigningKey.generate().verify_key))
        self.valid_keys.add(ephemeral)
        return self.stored_answer(ephemeral)

    def stored_answer(self, ephemeral: str, **changes: Any) -> dict[str, Any]:
        """The answer about the invite that was stored last."""
        place = f"https://{self.name}{IDENTITY}/pubkey"
        keys = [
            {"public_key": self.public_key, "key_validity_url": f"{place}/isvalid"},
            {"public_key": ephemeral, "key_validity_url": f"{place}/ephemeral/isvalid"},
        ]
        return {"token": self.stored[-1]["token"], "public_keys": keys, "display_name": "b...@h...", **changes}

    async def _is_valid(self, asked: Asked) -> Any:
        return {"valid": asked.query["public_key"] in self.valid_keys}


@asynccontextmanager
async def run_identity_server(network: Network, name: str) -> AsyncIterator[IdentityServer]:
    """An identity server that listens at its port of the network."""
    async with run_peer(network, name, seed=11) as peer:
        identity = IdentityServer(peer)
        identity.begin()
        yield identity
