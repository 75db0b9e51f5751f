"""Typing notifications: who is typing in which room."""
