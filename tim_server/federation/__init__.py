"""Talking to other servers: discovery, signed requests, server keys."""
