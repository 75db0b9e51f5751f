"""The circle of trust of the demonstration: an authority lists two hospitals; a third server has an authority of its
own, which nobody here knows."""

from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from tim_server.cli.demo_places import Place, Places
from tim_server.cli.trust_authority_entry import make_entry
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.found import found_authority
from tim_server.services.directory_authority.issue import Application, issue_certificate
from tim_server.services.directory_authority.members import add_member
from tim_server.services.directory_authority.sign import Signing, sign_directory

CIRCLE_NAME = "Hospitals of the North"
COMMAND = "tim-server trust authority"


def found_circle(places: Places, console: Console) -> None:
    """Found the circle, as its commands do, unless the folder has it; sign it anew in any case."""
    authority = AuthorityFolder(places.authority_folder)
    console.print("\n[bold]An authority founds a circle of trust,[/] with these commands:")
    if not authority.state_file.exists():
        now = datetime.now(UTC)
        url = places.authority_url
        _show(console, f"init --name {_quoted(CIRCLE_NAME)} --url {url}")
        fingerprint = found_authority(authority, name=CIRCLE_NAME, url=url, now=now)
        console.print(f"    [green]its root certificate has the fingerprint {fingerprint[:16]}…[/]")
        for place in (places.st_mary, places.city):
            _show(console, f"add --name {_quoted(place.title)} --issue {place.name}")
            _certify(authority, place, now)
        _certify_elsewhere(places.stranger, now)
    _show(console, "sign")
    directory = sign_directory(authority, Signing(), datetime.now(UTC))
    listed = ", ".join(name for organisation in directory.organisations for name in organisation.server_names)
    console.print(f"    [green]version {directory.version} of the directory lists {listed}[/]")
    _show(console, f"serve --port {places.authority_port}")
    console.print(
        f"[bold]{places.stranger.name}[/] is not listed. It has a key, and a certificate of an authority of its own."
    )


def _certify(authority: AuthorityFolder, place: Place, now: datetime) -> None:
    add_member(authority, make_entry([place.name], place.title, "hospital"), now)
    issue_certificate(authority, Application(server_name=place.name), now, output=place.folder)


def _certify_elsewhere(place: Place, now: datetime) -> None:
    authority = AuthorityFolder(place.folder / "authority")
    found_authority(authority, name="An authority of nobody", url="http://authority.stranger.example", now=now)
    _certify(authority, place, now)


def _show(console: Console, arguments: str) -> None:
    console.print(f"    [dim]$ {escape(f'{COMMAND} {arguments}')}[/]")


def _quoted(name: str) -> str:
    return f'"{name}"'
