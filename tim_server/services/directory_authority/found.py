"""Found an authority: its folder, its root, and nobody in it yet."""

from datetime import datetime
from urllib.parse import urlsplit

from tim_server.services.directory_authority.certify import key_to_pem, make_root, to_pem
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import PRIVATE, PUBLIC, AuthorityFolder
from tim_server.services.directory_authority.state import AuthorityState
from tim_server.trust.certificates import certificate_sha256

NAME_LENGTH_MAX = 200


def found_authority(folder: AuthorityFolder, *, name: str, url: str, now: datetime) -> str:
    """Make an authority in `folder`, which is empty or not there yet; `url` is where `public/` will be reached.

    Returns the fingerprint (SHA-256) of its root certificate. Raises `AuthorityFailed`.
    """
    if not name.strip() or not name.isprintable() or len(name) > NAME_LENGTH_MAX:
        raise AuthorityFailed(f"the name must be a text of 1 to {NAME_LENGTH_MAX} characters")
    state = AuthorityState(name=name.strip(), url=_checked_url(url))
    _make_folder(folder)
    with folder.lock():
        if folder.state_file.exists() or folder.root_key_file.exists():
            raise AuthorityFailed(f"there is an authority in {folder.path} already; choose another folder")
        root = make_root(state.name, now)
        folder.log(f"found {state.name}, published at {state.url}", now)
        folder.write(folder.root_key_file, key_to_pem(root.key, folder.passphrase), mode=PRIVATE)
        folder.write(folder.anchors_file, to_pem(root.certificate), mode=PUBLIC)
        folder.write_state(state)  # last: without it there is no authority
    return certificate_sha256(root.certificate)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_fine = url.isascii() and parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:  # brackets that don't close
        is_fine = False
    if not is_fine or "?" in url or "#" in url:
        raise AuthorityFailed(f"{url!r} is not an address such as https://trust.example")
    return url.rstrip("/")


def _make_folder(folder: AuthorityFolder) -> None:
    try:
        folder.path.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise AuthorityFailed(f"{folder.path} can't be made: {error.strerror}") from None
