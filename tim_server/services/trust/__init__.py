"""Whom this server talks to: the trust gate, and what it decides by."""
