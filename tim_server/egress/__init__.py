"""Every outgoing connection: connectors, address checks, TLS, the trust gate."""
