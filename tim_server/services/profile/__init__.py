"""Profiles: reading and changing their fields."""
