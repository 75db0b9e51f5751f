-- Servers whose members are missing from a room's state here, as their keys could not be had when it was joined.

CREATE TABLE unverified_servers (
    room_nid bigint NOT NULL,
    server_name text COLLATE "C" NOT NULL,
    due_ts bigint NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    PRIMARY KEY (room_nid, server_name)
);

CREATE INDEX ON unverified_servers (due_ts);
