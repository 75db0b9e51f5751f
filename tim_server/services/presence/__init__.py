"""Presence: who is there, and who is told of it."""
