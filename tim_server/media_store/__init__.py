"""Bytes of media: local disk or S3, sealed."""
