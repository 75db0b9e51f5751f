"""What one revocation list or OCSP response says about one certificate."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """It speaks for the certificate, until `holds_until`."""

    holds_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """The certificate was revoked, or suspended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It says nothing about the certificate, or nothing that counts."""


Status = Good | Revoked | Unknown
