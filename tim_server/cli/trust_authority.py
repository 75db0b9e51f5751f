"""`tim-server trust authority`: the commands that run a circle of trust, and what they print."""

import os
import sys
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tim_server.services.directory_authority.folder import AuthorityFolder
    from tim_server.services.directory_authority.issue import IssuedFiles

HELP = """Run a circle of trust: say who belongs to it, certify their servers, sign and serve the directory.

An authority is a folder, and these commands are all it needs. To found a circle: init, add each member, sign, serve.
"""

PASSPHRASE_VARIABLE = "TIM_SERVER_AUTHORITY_PASSPHRASE"

authority = typer.Typer(name="authority", help=HELP, no_args_is_help=True)

FolderOption = Annotated[
    Path, typer.Option("--folder", "-f", envvar="TIM_SERVER_AUTHORITY", help="The authority's folder.")
]
DEFAULT_FOLDER = Path("authority")

_passphrase_file: ContextVar[Path | None] = ContextVar("passphrase_file", default=None)


@authority.callback()
def _options(
    *,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(
            help="The first line of this file is the passphrase with which `init` encrypts the authority's keys, and "
            f"without which they are not read again. {PASSPHRASE_VARIABLE} may hold it instead."
        ),
    ] = None,
) -> None:
    _passphrase_file.set(passphrase_file)


@authority.command("init")
def init_authority(
    *,
    name: Annotated[str, typer.Option(help="What the circle is called; it stands in certificates.")],
    url: Annotated[str, typer.Option(help="Where members will reach what `serve` serves; it stands in certificates.")],
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Found an authority in a new folder, with a root certificate of its own."""
    from tim_server.cli.failures import failures_told
    from tim_server.services.directory_authority.found import found_authority

    with failures_told():
        opened = _open(folder)
        fingerprint = found_authority(opened, name=name, url=url, now=_now())
    typer.echo(f"{folder} is the authority of {name}")
    typer.echo(f"its root certificate, for members to configure as anchor: {opened.anchors_file}")
    typer.echo(f"its fingerprint, for them to compare (SHA-256): {fingerprint}")
    if opened.passphrase is None:
        typer.echo(f"{opened.root_key_file} must stay secret: whoever has it is the authority")
    else:
        typer.echo(f"{opened.root_key_file} is encrypted: without the passphrase nobody is the authority any more")


@authority.command("add")
def add(
    *,
    server_names: Annotated[list[str] | None, typer.Argument(help="The member's server names.")] = None,
    name: Annotated[str | None, typer.Option(help="What the member is called.")] = None,
    kind: Annotated[str, typer.Option(help="What it is, in lower case: hospital, practice, pharmacy, …")] = "hospital",
    entry: Annotated[
        Path | None,
        typer.Option(
            help="Read the whole entry from this YAML or JSON file instead: id, name, kind, server_names, "
            "certificates, issuers, contacts, as in the directory."
        ),
    ] = None,
    issue: Annotated[bool, typer.Option("--issue", help="Also issue a certificate to each of its servers.")] = False,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Add a member, or replace the one with the same id (the first server name, unless an entry says otherwise).

    Without certificates or issuers in an entry, its servers are known by the certificates that this authority issues.
    """
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_entry import make_entry, read_entry
    from tim_server.services.directory_authority.issue import Application, issue_certificate
    from tim_server.services.directory_authority.members import add_member

    if (entry is None) == (not server_names) or (entry is None) == (name is None):
        raise typer.BadParameter("give either server names and --name, or --entry")
    with failures_told():
        opened = _open(folder)
        value = make_entry(server_names or [], name or "", kind) if entry is None else read_entry(entry)
        changed = add_member(opened, value, _now())
        organisation = changed.organisation
        typer.echo(f"{organisation.id} is {'added' if changed.is_new else 'replaced'}")
        if changed.revoked_count:
            typer.echo(f"certificates of servers that it no longer has, and that are revoked: {changed.revoked_count}")
        for server_name in organisation.server_names if issue else ():
            _tell_files(issue_certificate(opened, Application(server_name=server_name), _now()))
    _tell_to_sign()


@authority.command("remove")
def remove(
    member: Annotated[str, typer.Argument(metavar="ID", help="The member's id, as `list` shows it.")],
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Remove a member, and revoke the certificates that were issued to it."""
    from tim_server.cli.failures import failures_told
    from tim_server.services.directory_authority.members import remove_member

    with failures_told():
        removed = remove_member(_open(folder), member, _now())
    typer.echo(f"{member} is removed; certificates of it that are revoked: {removed.revoked_count}")
    _tell_to_sign()


@authority.command("issue")
def issue(
    *,
    server_name: Annotated[str, typer.Argument(help="A member's server name.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A further name for the certificate, such as the host that .well-known/matrix/server names."),
    ] = None,
    request: Annotated[
        Path | None,
        typer.Option(help="A certificate signing request of the member, whose private key then never leaves it."),
    ] = None,
    valid_days: Annotated[int, typer.Option(min=1, max=3650, help="For how long.")] = 397,
    output: Annotated[Path | None, typer.Option(help="Where to put it (the folder's members/SERVER).")] = None,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Issue a certificate to a member's server, for TLS on both sides. Those that it has stay valid."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_entry import read_file
    from tim_server.services.directory_authority.issue import Application, issue_certificate
    from tim_server.services.directory_authority.state import parse_server_name

    with failures_told():
        application = Application(
            server_name=parse_server_name(server_name),
            hosts=tuple(host or ()),
            request=None if request is None else read_file(request),
            valid_days=valid_days,
        )
        _tell_files(issue_certificate(_open(folder), application, _now(), output=output))


@authority.command("revoke")
def revoke(
    *,
    server_name: Annotated[str | None, typer.Argument(help="Revoke all certificates issued to this server.")] = None,
    serial: Annotated[str | None, typer.Option(help="Revoke the one with this serial number, in hexadecimal.")] = None,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Revoke certificates, and publish the revocation list at once."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_entry import parse_serial
    from tim_server.services.directory_authority.issue import revoke_certificates
    from tim_server.services.directory_authority.state import format_serial, parse_server_name

    if (server_name is None) == (serial is None):
        raise typer.BadParameter("name either a server or --serial")
    with failures_told():
        revoked = revoke_certificates(
            _open(folder),
            _now(),
            server_name=None if server_name is None else parse_server_name(server_name),
            serial=None if serial is None else parse_serial(serial),
        )
    for each in revoked:
        typer.echo(f"{format_serial(each.serial)} for {each.server_name or 'the signing of directories'} is revoked")


@authority.command("list")
def list_members(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only say what somebody must do; exit code 1 if there is anything.")
    ] = False,
    days: Annotated[int, typer.Option(min=0, help="Certificates that end within so many days are to be renewed.")] = 30,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Show the authority, its members and their certificates, and what somebody must do."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_table import print_overview
    from tim_server.services.directory_authority.overview import concerns, look_over

    with failures_told():
        overview = look_over(_open(folder), _now())
    if not check:
        print_overview(overview, _now())
    found = list(concerns(overview, _now(), soon=timedelta(days=days)))
    for concern in found if check or sys.stdout.isatty() else ():
        typer.echo(f"! {concern}")
    if check and found:
        raise typer.Exit(1)


@authority.command("sign")
def sign(
    *,
    valid_days: Annotated[int, typer.Option(min=1, max=3650, help="For how long the directory is valid.")] = 30,
    crl_valid_days: Annotated[int, typer.Option(min=1, max=3650, help="And the list of revoked certificates.")] = 7,
    after_version: Annotated[
        int,
        typer.Option(
            min=0, help="After a restore from a backup: the version that members have, which must be exceeded."
        ),
    ] = 0,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Sign the directory as it is now, under the next version, and publish it with a new revocation list."""
    from tim_server.cli.failures import failures_told
    from tim_server.services.directory_authority.sign import Signing, sign_directory

    with failures_told():
        opened = _open(folder)
        signing = Signing(valid_days=valid_days, crl_valid_days=crl_valid_days, after_version=after_version)
        directory = sign_directory(opened, signing, _now())
    typer.echo(f"version {directory.version} is signed; members: {len(directory.organisations)}")
    typer.echo(f"it is valid until {directory.expires.isoformat()}; `serve` signs it anew before that")
    typer.echo(f"published in {opened.directory_file.parent}")


@authority.command("serve")
def serve(
    *,
    address: Annotated[str, typer.Option(help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any.")] = 8449,
    certificate: Annotated[Path | None, typer.Option(help="For HTTPS: certificate and chain, PEM.")] = None,
    private_key: Annotated[Path | None, typer.Option(help="For HTTPS: the private key, PEM.")] = None,
    folder: FolderOption = DEFAULT_FOLDER,
) -> None:
    """Serve directory, revocation list and anchors until SIGTERM or Ctrl-C, and sign them anew before they expire.

    Whatever is signed meanwhile with `sign` or `revoke` is served within seconds. Members are served what was signed
    last; what was only added or removed waits for `sign`.
    """
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_serve import ListeningAt, serve_authority

    if (certificate is None) != (private_key is None):
        raise typer.BadParameter("--certificate and --private-key belong together")
    files = None if certificate is None or private_key is None else (certificate, private_key)
    with failures_told():
        serve_authority(_open(folder), ListeningAt(address=address, port=port, tls=files))


@authority.command("fingerprint")
def fingerprint(file: Annotated[Path, typer.Argument(help="A certificate, PEM or DER.")]) -> None:
    """Print how a certificate is pinned in an entry of the directory: whole, or by its public key."""
    from tim_server.cli.failures import failures_told
    from tim_server.cli.trust_authority_entry import pins_of

    with failures_told():
        pins = pins_of(file)
    for key, digest in pins.items():
        typer.echo(f"{key}: {digest}")


def _open(folder: Path) -> "AuthorityFolder":
    from tim_server.services.directory_authority.folder import AuthorityFolder

    return AuthorityFolder(folder.absolute(), _passphrase(_passphrase_file.get()))


def _passphrase(file: Path | None) -> bytes | None:
    """The passphrase in the file, or in the environment; None where there is none."""
    from tim_server.cli.failures import CommandFailed
    from tim_server.cli.trust_authority_entry import read_file

    if file is not None:
        passphrase = read_file(file).partition(b"\n")[0].removesuffix(b"\r")
    elif (value := os.environ.get(PASSPHRASE_VARIABLE)) is not None:
        passphrase = value.encode()
    else:
        return None
    if not passphrase:
        raise CommandFailed("the passphrase is empty")
    return passphrase


def _now() -> datetime:
    return datetime.now(UTC)


def _tell_files(files: "IssuedFiles") -> None:
    typer.echo(f"certificate for {files.issued.server_name}: {files.certificate}")
    if files.private_key is not None:
        typer.echo(f"its private key, to be handed over and then deleted here: {files.private_key}")
    typer.echo(f"valid until {files.issued.expires.date().isoformat()}")


def _tell_to_sign() -> None:
    typer.echo("members see it once it is signed: tim-server trust authority sign")
