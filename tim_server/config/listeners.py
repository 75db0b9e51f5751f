"""Addresses and ports that the server listens on."""

from typing import Literal

from pydantic import Field, model_validator

from tim_server.config.base import NetworkOption, PathOption, Section

Resource = Literal["client", "federation", "health", "metrics"]
_PUBLIC = {"client", "federation"}


class TlsSettings(Section):
    """TLS without a reverse proxy."""

    certificate: PathOption = Field(
        examples=["/etc/tim-server/certificate.pem"],
        description="Certificate in PEM form, followed by those between it and the certificate authority.",
    )
    private_key: PathOption = Field(
        examples=["/etc/tim-server/private-key.pem"], description="The certificate's private key in PEM form."
    )
    version_min: Literal["1.2", "1.3"] = Field(default="1.2", description="The oldest version of TLS that is spoken.")
    request_client_certificates: bool = Field(
        default=False,
        description="Whether whoever connects is asked for a certificate, as trust.mutual_tls.required needs it; on a "
        "listener for federation only, as browsers would ask their users.",
    )


class ListenerSettings(Section):
    """One address and port."""

    address: str = Field(
        default="127.0.0.1", min_length=1, description="The address to listen on; 0.0.0.0 or '::' for all."
    )
    port: int = Field(
        default=8008,
        ge=0,
        le=65535,
        description="The port, shared by all workers. A listener for health and metrics takes one port for each "
        "worker, counted up from this one.",
    )
    resources: tuple[Resource, ...] = Field(
        default=("client", "federation"),
        min_length=1,
        description="What is served: client and federation, or, apart from them, health (/health, /ready) and metrics.",
    )
    tls: TlsSettings | None = Field(
        default=None,
        examples=[
            {
                "certificate": "/etc/tim-server/certificate.pem",
                "private_key": "/etc/tim-server/private-key.pem",
                "version_min": "1.2",
                "request_client_certificates": False,
            }
        ],
        description="For TLS: the certificate in PEM form, followed by those between it and the certificate authority, "
        "its private key, the oldest version of TLS that is spoken (1.2 or 1.3), and whether clients are asked for "
        "certificates. Without, plain HTTP: for a reverse proxy on the same machine.",
    )
    trusted_proxies: tuple[NetworkOption, ...] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="Networks of reverse proxies whose forwarding headers are believed.",
    )
    forwarding_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        default="X-Forwarded-For",
        description="The header in which these proxies write whom they serve; the other one is not read, as they may "
        "hand it on from a client that lies.",
    )

    client_certificate_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        examples=["Client-Cert"],
        description="The header in which these proxies hand on the certificate that a client has presented, once they "
        "have verified it: PEM in percent-encoding, or DER in Base64. They must replace what a client writes there.",
    )

    @model_validator(mode="after")
    def _check_resources(self) -> "ListenerSettings":
        if not self.is_public and _PUBLIC & set(self.resources):
            raise ValueError("health and metrics need a listener of their own, apart from client and federation")
        if self.tls is not None and self.tls.request_client_certificates and self.resources != ("federation",):
            raise ValueError("client certificates are requested on listeners for federation only")
        return self

    @property
    def takes_client_certificates(self) -> bool:
        """Whether other servers can present certificates here."""
        is_asked = self.tls is not None and self.tls.request_client_certificates
        return "federation" in self.resources and (is_asked or self.client_certificate_header is not None)

    @property
    def is_public(self) -> bool:
        """Whether this listener serves Matrix, rather than health and metrics."""
        return set(self.resources) <= _PUBLIC

    def port_of(self, worker_index: int) -> int:
        """The port that this worker listens on; workers share public ports and number the others."""
        return self.port if self.is_public or self.port == 0 else self.port + worker_index


DEFAULT_LISTENERS = (ListenerSettings(), ListenerSettings(port=8070, resources=("health", "metrics")))
