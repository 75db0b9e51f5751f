"""What the server does: verbs as files."""
