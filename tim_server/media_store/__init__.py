"""Bytes of media: objects on local disk, each sealed in chunks under a key of its own."""
