"""Transactions between servers: events and short-lived data (EDUs), received and sent."""
