"""How an authority publishes, and how a homeserver asks: the same on both sides, over HTTP.

    GET /directory.jws?version=7     200 the directory (compact JWS), with an ETag
                                     204 its version is 7; 304 its ETag was in If-None-Match
    GET /revoked.crl                 200 the revocation list of the authority's certificates (DER)
    GET /anchors.pem                 200 the authority's own certificate (PEM), for people to compare and configure

`version` is optional, and a plain web server with the files, which ignores it, does as well. Nothing that is published
is secret, and nothing is believed for where it came from: the directory and the list are signed.
"""

DIRECTORY_PATH = "/directory.jws"
CRL_PATH = "/revoked.crl"
ANCHORS_PATH = "/anchors.pem"

MEDIA_TYPES = {
    DIRECTORY_PATH: "application/jose",
    CRL_PATH: "application/pkix-crl",
    ANCHORS_PATH: "application/pem-certificate-chain",
}

VERSION_PARAMETER = "version"
NOTHING_NEWER = frozenset({204, 304})
"""The statuses that say so; 200 is the only other one that is no failure."""


def directory_request_url(url: str, known_version: int | None) -> str:
    """The address to GET: the directory's, with the version that the homeserver has (None: it has none)."""
    if known_version is None:
        return url
    return f"{url}{'&' if '?' in url else '?'}{VERSION_PARAMETER}={known_version}"
