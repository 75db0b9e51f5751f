"""Receipts and read markers: how far users have read."""
