-- The push rules of users who have changed any: their own, and their changes to the server-default ones, sealed as one
-- piece. `position` is the clock when they were last changed.

CREATE TABLE push_rules (
    user_id  text COLLATE "C" PRIMARY KEY,
    rules    bytea NOT NULL,
    position bigint NOT NULL
);
