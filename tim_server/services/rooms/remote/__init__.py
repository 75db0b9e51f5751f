"""What this server asks of others about rooms: to be let in, for history, state and events that it misses."""
