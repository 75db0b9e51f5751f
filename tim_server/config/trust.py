"""Who may talk to this server: the profile, where its directories come from, and what certificates must be like."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from tim_server.config.base import HttpUrlOption, PathOption, Section
from tim_server.trust.profiles import RULES, Profile

_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")


def _check_profile(value: Profile) -> Profile:
    if value not in RULES:
        raise ValueError(f"the profile {value} is not part of this release, only {' and '.join(RULES)} are")
    return value


def _check_host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("not a host, or host:port, such as crl.example.org")
    return value.lower()


class DirectorySettings(Section):
    """A signed directory of organisations."""

    urls: tuple[HttpUrlOption, ...] = Field(
        default=(),
        examples=[["https://directory.example.org/directory.jws"]],
        description="Where the directory is fetched from; of several places, the first that has an acceptable one.",
    )
    anchors_file: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/directory-anchors.pem"],
        description="Certificates in PEM form. Only a directory whose signer was certified by one of them, directly or "
        "through others, is accepted.",
    )
    signer_common_name: str | None = Field(
        default=None,
        examples=["Directory Signer"],
        description="The common name of the signer's certificate, where the authority can't issue the extended key "
        "usage for signing directories; with it, or with signer_policy, that usage is not asked for.",
    )
    signer_policy: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)+$",
        examples=["2.25.1"],
        description="A certificate policy, as a dotted number, that the signer's certificate must have.",
    )
    ca_file: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/authorities.pem"],
        description="Certificate authorities in PEM form for the TLS of these places, instead of the system's. What is "
        "fetched is believed for its own signature only.",
    )
    refresh_interval_s: float = Field(
        default=300.0,
        ge=1,
        description="How often the directory and the revocation lists are fetched. It bounds for how long a server "
        "that was removed, or whose certificate was revoked, is still talked to.",
    )
    unknown_server_interval_s: float = Field(
        default=60.0,
        ge=1,
        description="Whoever is not in the directory makes it be fetched once more, at most this often.",
    )


class SourceSettings(Section):
    """Where it is known from who belongs to the circle of trust."""

    directory: DirectorySettings = Field(
        default=DirectorySettings(), description="A signed directory, as `tim-server trust authority` makes it."
    )


class CertificateSettings(Section):
    """What the certificates of other organisations' servers must be like."""

    anchors_file: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/organisation-anchors.pem"],
        description="Certificates in PEM form. Servers must have been certified by one of them, directly or through "
        "others; between servers, they take the place of federation.ca_file.",
    )
    revocation: Literal["required", "if_known"] = Field(
        default="required",
        description="What becomes of a certificate of which no valid list says whether it was revoked: required "
        "refuses it, if_known lets it pass.",
    )
    ocsp: bool = Field(
        default=False, description="Whether authorities are also asked about single certificates (OCSP)."
    )
    revocation_hosts: tuple[Annotated[str, AfterValidator(_check_host)], ...] = Field(
        default=(),
        examples=[["crl.example.org", "ocsp.example.org:8080"]],
        description="Hosts, or host:port, that revocation lists and OCSP responses are fetched from. Other addresses "
        "in certificates are not followed.",
    )


class MutualTlsSettings(Section):
    """Certificates on both sides of a connection between servers."""

    required: bool = Field(
        default=False,
        description="Whether other servers must present their organisation's certificate when they connect. It takes a "
        "listener with tls.request_client_certificates or client_certificate_header.",
    )
    certificate: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/organisation.pem"],
        description="The certificate that this server presents when it connects to others, in PEM form, followed by "
        "those between it and the certificate authority.",
    )
    private_key: PathOption | None = Field(
        default=None,
        examples=["/etc/tim-server/organisation-key.pem"],
        description="The certificate's private key in PEM form.",
    )

    @property
    def own_files(self) -> tuple[Path, Path] | None:
        """Certificate and key that are presented; None where there are none."""
        if self.certificate is None or self.private_key is None:
            return None
        return self.certificate, self.private_key


class TrustSettings(Section):
    """The trust gate: whom this server talks to."""

    profile: Annotated[Profile, AfterValidator(_check_profile)] = Field(
        default=Profile.OPEN,
        description="open: any server that TLS verifies, for interoperation and trials. directory: only servers that a "
        "signed directory lists and whose certificates verify.",
    )
    sources: SourceSettings = Field(
        default=SourceSettings(), description="Where it is known from who belongs to the circle of trust."
    )
    certificates: CertificateSettings = Field(
        default=CertificateSettings(), description="Certificates of other organisations' servers."
    )
    mutual_tls: MutualTlsSettings = Field(
        default=MutualTlsSettings(), description="Certificates on both sides of a connection between servers."
    )
    decisions_kept_max: int = Field(
        default=10_000,
        ge=100,
        description="How many kinds of refusals are kept for each place where the gate is asked; the oldest go first.",
    )

    @model_validator(mode="after")
    def _check_together(self) -> "TrustSettings":
        rules, directory = RULES[self.profile], self.sources.directory
        if rules.needs_listing and (not directory.urls or directory.anchors_file is None):
            raise ValueError(f"the profile {self.profile} needs urls and anchors_file in sources.directory")
        if self.mutual_tls.required and not rules.needs_certificate:
            raise ValueError(f"the profile {self.profile} asks for no certificates, but mutual_tls.required does")
        if rules.needs_certificate and (self.mutual_tls.certificate is None) != (self.mutual_tls.private_key is None):
            raise ValueError("mutual_tls needs both certificate and private_key, or neither")
        if rules.needs_certificate and self.certificates.anchors_file is None:
            raise ValueError(f"the profile {self.profile} needs certificates.anchors_file")
        return self
