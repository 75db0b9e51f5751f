"""Logging set-up, metrics, tracing."""
