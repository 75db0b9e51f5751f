"""Devices: listing, renaming and removing them."""
