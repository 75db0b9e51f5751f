"""Finding rooms and users: the public directory, summaries, spaces, the user directory."""
