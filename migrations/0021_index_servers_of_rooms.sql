-- Which servers are in a room, and in which rooms a server is.

ALTER TABLE memberships ADD COLUMN server_name text COLLATE "C" NOT NULL
    GENERATED ALWAYS AS (substr(user_id, strpos(user_id, ':') + 1)) STORED;

CREATE INDEX memberships_servers ON memberships (server_name, room_nid) WHERE membership = 'join';
