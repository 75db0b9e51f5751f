"""Identity servers, which know whose address is whose: those that the operator allows, and no others.

Addresses are those of people who may be patients: they go to the identity server that the user has named, and nowhere
else, neither into logs nor into errors.

Spec: https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
"""

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self

import structlog

from tim_server.egress.errors import ContactRefused, OutgoingError
from tim_server.federation.errors import RemoteError
from tim_server.federation.identity_servers import IdentityAccount, IdentityClient, StoredInvite, host_of_url
from tim_server.matrix.errors import Forbidden, InvalidParam, LimitExceeded, MatrixError, ThreepidDenied
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId
from tim_server.matrix.identity_errors import ServerNotTrusted, TermsNotSigned
from tim_server.matrix.third_party_addresses import ThirdPartyAddress
from tim_server.matrix.third_party_invites import InviteKey
from tim_server.services.trust.gate import ChokePoint, TrustGate

AT_ONCE = 10
"""How many invites of one request identity servers are asked to keep at the same time."""
RETRY_AFTER_MS = 1_000
OPTION = "federation.identity_servers"
_ACCESS_TOKEN = re.compile(r"[!-~]{1,2000}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitedAddress:
    """Whose address is invited, and which identity server is to say whose it is."""

    account: IdentityAccount
    address: ThirdPartyAddress

    @classmethod
    def of(cls, identity_server: ServerName, access_token: str, *, medium: str, address: str) -> Self:
        """The same of what a client gives; raises `InvalidParam`, which does not name the address."""
        if not _ACCESS_TOKEN.fullmatch(access_token):
            raise InvalidParam("id_access_token is no access token")
        try:
            parsed = ThirdPartyAddress.parse(medium, address)
        except InvalidIdentifier as error:
            raise InvalidParam(f"medium and address: {error}") from None
        account = IdentityAccount(server_name=identity_server, access_token=access_token)
        return cls(account=account, address=parsed)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityServers:
    """Asks those in `allowed` (lower case). All raise `ServerNotTrusted` for others, `Forbidden` where the trust gate
    refuses one, and `ThreepidDenied`, `TermsNotSigned`, `LimitExceeded` or `BadGateway` for what it answers."""

    client: IdentityClient
    gate: TrustGate
    allowed: frozenset[str]

    async def check(self, servers: Iterable[ServerName]) -> None:
        """Raise unless all of these servers may be asked."""
        named = {*servers}
        for server_name in named:
            if server_name.lower() not in self.allowed:
                raise ServerNotTrusted(
                    f"This server does not contact the identity server {server_name}; its operator may allow it "
                    f"with the option {OPTION}"
                )
        await self.gate.require(ChokePoint.CLIENT_REQUEST, named)

    async def find(self, invited: Sequence[InvitedAddress]) -> dict[InvitedAddress, UserId]:
        """The users whose addresses these are; addresses that are nobody's yet are left out."""
        await self.check(each.account.server_name for each in invited)
        by_account: dict[IdentityAccount, list[ThirdPartyAddress]] = defaultdict(list)
        for each in invited:
            by_account[each.account].append(each.address)
        found: dict[InvitedAddress, UserId] = {}
        for account, addresses in by_account.items():
            async with _errors_told(account.server_name):
                users = await self.client.look_up(account, addresses)
            found |= {InvitedAddress(account=account, address=address): user for address, user in users.items()}
        return found

    async def store(self, invited: Iterable[InvitedAddress], about: Mapping[str, str]) -> list[StoredInvite]:
        """Have invites kept until somebody has the addresses, with what `about` says of who invites into what."""
        at_once = asyncio.Semaphore(AT_ONCE)

        async def store_one(each: InvitedAddress) -> StoredInvite:
            async with at_once, _errors_told(each.account.server_name):
                stored = await self.client.store_invite(each.account, each.address, about)
            await self._check_vouching(each.account.server_name, stored.content)
            return stored

        outcomes = await asyncio.gather(*map(store_one, invited), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return [outcome for outcome in outcomes if isinstance(outcome, StoredInvite)]

    async def require_valid(self, key: InviteKey) -> None:
        """Raise `Forbidden` for a key with which an invite was proved that is not valid any more."""
        if key.validity_url is None:
            return
        server_name = host_of_url(key.validity_url)
        if server_name is None:
            raise Forbidden("Nobody can say whether the key of the invite is still valid")
        await self.check([server_name])
        async with _errors_told(server_name):
            is_valid = await self.client.is_key_valid(key.validity_url, key.text)
        if not is_valid:
            raise Forbidden("The key of the invite is not valid any more")

    async def _check_vouching(self, server_name: ServerName, content: Mapping[str, Any]) -> None:
        """Whoever is to say later whether the keys are valid must be somebody whom this server may ask then."""
        hosts = {host for entry in content["public_keys"] if (host := host_of_url(entry["key_validity_url"]))}
        if not {host.lower() for host in hosts} <= self.allowed:
            log.warning("an identity server names another that may not be asked", server=server_name)
            raise BadGateway(f"{server_name} names another identity server, which {OPTION} does not allow")
        await self.gate.require(ChokePoint.EVENT_CREATION, hosts)


@asynccontextmanager
async def _errors_told(server_name: ServerName) -> AsyncIterator[None]:
    """Turn errors of asking an identity server into a client's; nothing of what it says is passed on."""
    try:
        yield
    except (RemoteError, OutgoingError) as error:
        log.info("an identity server did not help", server=server_name, error=type(error).__name__)
        raise _meaning_of(error, server_name) from None


def _meaning_of(error: RemoteError | OutgoingError, server_name: ServerName) -> MatrixError:
    if isinstance(error, ContactRefused):
        return Forbidden(f"{server_name} is not part of the federation of this server")
    if not isinstance(error, RemoteError):
        return BadGateway(f"The identity server {server_name} can't be reached")
    if error.errcode == TermsNotSigned.errcode:
        return TermsNotSigned()
    if error.status == 401:  # of which a client would think that it must log in here again
        return ThreepidDenied(f"The identity server {server_name} does not accept the access token")
    if error.status in (400, 403):
        return ThreepidDenied(f"The identity server {server_name} refuses the address")
    if error.status == 429:
        return LimitExceeded(retry_after_ms=error.retry_after_ms or RETRY_AFTER_MS)
    return BadGateway(f"The identity server {server_name} does not answer as it should")
