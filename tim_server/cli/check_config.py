"""`tim-server check-config`: what can be found wrong without a database or a network."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from tim_server.config.load import ConfigurationError, Problem, load_settings
from tim_server.config.settings import Settings, TenantSettings
from tim_server.config.signing_key import read_signing_key
from tim_server.trust.profiles import RULES


def check_config(config: Path) -> str:
    """A summary of the configuration; raises `ConfigurationError`."""
    settings = load_settings(config)
    check_files(config, settings)
    return "\n".join(_summary(settings))


def check_files(config: Path, settings: Settings) -> None:
    """Raise `ConfigurationError` for files that the configuration names and that cannot be used."""
    problems = list(_problems(config, settings))
    if problems:
        raise ConfigurationError(problems)


def _problems(config: Path, settings: Settings) -> Iterator[Problem]:
    if not _may_be_folder(settings.data_dir):
        yield Problem(source=str(config), line=None, key="data_dir", reason=f"{settings.data_dir} is not a folder")
    for index, listener in enumerate(settings.listeners):
        tls = listener.tls
        reason = _pair_problem(tls.certificate, tls.private_key) if tls is not None else None
        if reason is not None:
            yield Problem(source=str(config), line=None, key=f"listeners.{index}.tls", reason=reason)
    for tenant in settings.tenants:
        path = settings.signing_key_path(tenant)
        if path.exists():
            try:
                read_signing_key(path)
            except ConfigurationError as error:
                yield from error.problems
        for key, reason in _certificate_problems(tenant):
            yield Problem(source=str(config), line=None, key=key, reason=reason)


def _certificate_problems(tenant: TenantSettings) -> Iterator[tuple[str, str]]:
    """Options that name certificates, and why these can't be used."""
    for key, file in _authority_files(tenant):
        if (reason := _authorities_problem(file)) is not None:
            yield key, reason
    pair = tenant.trust.mutual_tls.own_files
    if pair is not None and (reason := _pair_problem(*pair)) is not None:
        yield "trust.mutual_tls", reason


def _authority_files(tenant: TenantSettings) -> Iterator[tuple[str, Path]]:
    """The options that name files of certificate authorities, and the files."""
    directory = tenant.trust.sources.directory
    files = (
        ("federation.ca_file", tenant.federation.ca_file),
        ("trust.sources.directory.anchors_file", directory.anchors_file),
        ("trust.sources.directory.ca_file", directory.ca_file),
        ("trust.certificates.anchors_file", tenant.trust.certificates.anchors_file),
    )
    return ((key, file) for key, file in files if file is not None)


def _may_be_folder(path: Path) -> bool:
    """Whether `path` is a folder, or would be made in one."""
    return next(each for each in (path, *path.parents) if each.exists()).is_dir()


def _authorities_problem(file: Path) -> str | None:
    if not file.is_file():
        return f"no file {file}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except (OSError, ssl.SSLError) as error:
        return f"{file} cannot be used: {error}"
    return None


def _pair_problem(certificate: Path, private_key: Path) -> str | None:
    for path in (certificate, private_key):
        if not path.is_file():
            return f"no file {path}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, private_key, password=lambda: "")
    except (OSError, ssl.SSLError) as error:
        return f"certificate and key cannot be used: {error}"
    return None


def _partners(tenant: TenantSettings) -> str:
    rules = RULES[tenant.trust.profile]
    if not rules.needs_listing:
        return "any server that TLS verifies"
    return f"servers that {' or '.join(tenant.trust.sources.directory.urls)} lists"


def _summary(settings: Settings) -> Iterator[str]:
    for tenant in settings.tenants:
        where = "PostgreSQL of its own" if tenant.database.dsn is not None else "the embedded PostgreSQL"
        yield f"homeserver {tenant.server_name}: data in {where}; talks to {_partners(tenant)}"
    for listener in settings.listeners:
        protocol = "http" if listener.tls is None else "https"
        yield f"listens on {protocol}://{listener.address}:{listener.port} for {', '.join(listener.resources)}"
    if settings.uses_embedded_postgres:
        yield f"embedded PostgreSQL in {settings.embedded_postgres_folder}"
    yield "The configuration is right."
