-- The few events that are highlights for everybody in their room: what lists of highlights are made from.

CREATE INDEX events_for_everybody ON events (room_nid, position) WHERE notify_class >= 8 AND minor = 0;
