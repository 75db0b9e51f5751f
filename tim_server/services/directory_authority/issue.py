"""Certificates for members' servers: issued, and revoked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.certify import (
    BACKDATED,
    Validity,
    key_to_pem,
    make_server_certificate,
    new_key,
    read_request,
    to_pem,
)
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import PRIVATE, PUBLIC, AuthorityFolder
from tim_server.services.directory_authority.keys import crl_url, read_root
from tim_server.services.directory_authority.sign import publish_crl
from tim_server.services.directory_authority.state import AuthorityState, Issued, format_serial, parse_server_name
from tim_server.trust.certificates import host_of
from tim_server.trust.directory import Organisation

VALID_DAYS_DEFAULT = 397


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """For what a certificate is wanted. `hosts` are further names, such as the one that Matrix discovery leads to.

    `request` is a certificate signing request, where the member made the key itself.
    """

    server_name: ServerName
    hosts: Sequence[str] = ()
    request: bytes | None = None
    valid_days: int = VALID_DAYS_DEFAULT


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedFiles:
    """What was issued, and where it lies. `private_key` is None where the member has it."""

    issued: Issued
    certificate: Path
    private_key: Path | None


def issue_certificate(
    folder: AuthorityFolder, application: Application, now: datetime, *, output: Path | None = None
) -> IssuedFiles:
    """Issue a certificate to a member's server, into `output` (or its place in the folder).

    Certificates that the server had stay valid. Raises `AuthorityFailed`.
    """
    with folder.locked() as state:
        organisation = state.organisation_of(application.server_name)
        if organisation is None:
            raise AuthorityFailed(f"no member has a server {application.server_name}; add it first")
        hosts = _hosts(application)
        _check_own_hosts(hosts, organisation, state)
        key = new_key() if application.request is None else None
        certificate = make_server_certificate(
            read_root(folder),
            key.public_key() if key is not None else _requested_key(application.request or b"", hosts),
            organisation_name=organisation.name,
            hosts=hosts,
            crl_url=crl_url(state),
            validity=Validity(begins=now - BACKDATED, ends=now + timedelta(days=application.valid_days)),
        )
        issued = Issued(
            serial=certificate.serial_number,
            server_name=application.server_name,
            organisation_id=organisation.id,
            expires=certificate.not_valid_after_utc,
            hosts=hosts,
        )
        names = ", ".join(hosts)
        folder.log(f"issue certificate {format_serial(issued.serial)} to {organisation.id} for {names}", now)
        folder.write_state(replace(state, issued=(*state.issued, issued)))  # first: what exists can be revoked
        place = output or folder.member_folder(application.server_name)
        files = IssuedFiles(
            issued=issued,
            certificate=place / "certificate.pem",
            private_key=None if key is None else place / "key.pem",
        )
        if key is not None and files.private_key is not None:
            folder.write(files.private_key, key_to_pem(key), mode=PRIVATE)
        folder.write(files.certificate, to_pem(certificate), mode=PUBLIC)
    return files


def revoke_certificates(
    folder: AuthorityFolder, now: datetime, *, server_name: ServerName | None = None, serial: int | None = None
) -> tuple[Issued, ...]:
    """Revoke one certificate, or all valid ones of a server, and publish the revocation list at once.

    Raises `AuthorityFailed`, also where there is none.
    """
    with folder.locked() as state:
        found = tuple(
            each
            for each in state.issued
            if each.is_valid(now) and _is_meant(each, server_name=server_name, serial=serial)
        )
        if not found:
            what = (
                f"a certificate {format_serial(serial)}" if serial is not None else f"a certificate for {server_name}"
            )
            raise AuthorityFailed(f"{what} that is valid was not issued here; nothing is revoked")
        changed = state.with_revoked(frozenset(each.serial for each in found), now)
        folder.log(f"revoke certificates {', '.join(format_serial(each.serial) for each in found)}", now)
        publish_crl(folder, changed, now)
    return found


def _is_meant(issued: Issued, *, server_name: ServerName | None = None, serial: int | None = None) -> bool:
    if serial is not None:
        return issued.serial == serial
    return (
        issued.server_name is not None and server_name is not None and issued.server_name.lower() == server_name.lower()
    )


def _hosts(application: Application) -> tuple[str, ...]:
    """The server's own host first, each once."""
    further = [host_of(parse_server_name(host)) for host in application.hosts]
    return tuple(dict.fromkeys([host_of(application.server_name), *further]))


def _requested_key(request: bytes, hosts: Sequence[str]) -> CertificatePublicKeyTypes:
    """The key of a request that asks for no more than it gets: who sent it would otherwise find out much later."""
    read = read_request(request)
    others = [name for name in read.names if name not in hosts]
    if others:
        raise AuthorityFailed(
            f"the request names {', '.join(others)} too; if that is a host of the server, say so with --host"
        )
    return read.public_key


def _check_own_hosts(hosts: Sequence[str], organisation: Organisation, state: AuthorityState) -> None:
    """Otherwise the one member's server could pass for the other's: both are known by who certified them."""
    for host in hosts:
        owner = state.owner_of(host)
        if owner is not None and owner.id != organisation.id:
            raise AuthorityFailed(f"{host} is where {owner.id} has a server; nobody else gets a certificate for it")
