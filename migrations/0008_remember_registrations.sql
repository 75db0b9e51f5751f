-- A session of user-interactive authentication keeps what a registration was asked for with (`parameters`, sealed; of
-- the password only its hash), since later requests of the session may leave that out; and which account came of it,
-- since a client that lost the answer may ask again.

ALTER TABLE uia_sessions
    ADD COLUMN parameters bytea,
    ADD COLUMN made_user_id text COLLATE "C",
    ADD COLUMN made_device_id text COLLATE "C";
