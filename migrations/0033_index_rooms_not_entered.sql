-- For finding what a join that was given up has left, and removing it: the rooms that this server is not in, and the
-- events that are known of a room without a place in its timeline.

CREATE INDEX rooms_not_entered ON rooms (head_version) WHERE forward_extremities = '{}';
CREATE INDEX events_outliers ON events (room_nid) WHERE position IS NULL;
