"""The certificates that the other side of a TLS connection presented, whichever side connected."""

import _ssl
import ssl
import sys


def presented_chain(connection: ssl.SSLObject | None) -> tuple[bytes, ...]:
    """DER: the other side's certificate, then what came along with it; empty where there is none."""
    if connection is None or connection.getpeercert(binary_form=True) is None:
        return ()
    if sys.version_info >= (3, 13):
        return tuple(connection.get_unverified_chain())
    chain = connection._sslobj.get_unverified_chain()  # type: ignore[attr-defined]  # what 3.13 wraps
    return tuple(each.public_bytes(_ssl.ENCODING_DER) for each in chain or ())
