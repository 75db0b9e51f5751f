"""What the server does with rooms: one verb a file."""
