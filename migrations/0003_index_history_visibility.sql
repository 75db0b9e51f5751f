-- History visibility at an event is that of the newest of these in its snapshot: few rows a room, found at once.

CREATE INDEX events_history_visibility ON events (room_nid)
WHERE type = 'm.room.history_visibility' AND state_key = '';
