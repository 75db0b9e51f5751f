"""The administration API, and the Synapse-compatible endpoints that existing tools call."""
