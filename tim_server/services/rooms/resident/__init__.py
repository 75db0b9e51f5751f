"""What this server does for others as a resident server of a room: let users in, tell history and state."""
