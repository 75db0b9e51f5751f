"""Accounts: registering, logging in and out, tokens, passwords, user-interactive authentication."""
