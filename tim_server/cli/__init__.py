"""The command line: tim-server serve, demo, migrate, check-config and the rest."""
