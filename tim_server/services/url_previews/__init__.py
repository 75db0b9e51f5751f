"""Previews of web pages that users refer to."""
