"""Bytes of media: objects in a folder or a bucket, each sealed in chunks under a key of its own."""
