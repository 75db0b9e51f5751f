"""The organisation's web console."""
