"""Supervised loops: federation sending, push, application services, retention."""
