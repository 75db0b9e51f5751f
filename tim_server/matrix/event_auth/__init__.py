"""Event authorisation rules of every room version."""
