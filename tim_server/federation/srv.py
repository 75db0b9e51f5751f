"""SRV records of DNS, asked from the name servers of the system. Their targets' addresses are looked up, and checked,
where connections are made."""

from collections.abc import Sequence

import dns.asyncresolver
import dns.exception
import dns.resolver

from tim_server.federation.srv_records import SrvRecord

LOOK_UP_TIMEOUT_S = 5.0
RECORDS_MAX = 50


async def look_up_srv(name: str) -> Sequence[SrvRecord]:
    """The SRV records of a name, none where it has none; raises OSError where that can't be found out."""
    try:
        resolver = dns.asyncresolver.Resolver()
        answer = await resolver.resolve(name, "SRV", lifetime=LOOK_UP_TIMEOUT_S)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return ()
    except (dns.exception.DNSException, UnicodeError) as error:
        raise OSError(f"SRV records can't be looked up: {type(error).__name__}") from error
    return [
        SrvRecord(
            priority=record.priority,
            weight=record.weight,
            port=record.port,
            target=record.target.to_text(omit_final_dot=True),
        )
        for record in list(answer)[:RECORDS_MAX]
    ]
