"""Filters that clients have uploaded."""
