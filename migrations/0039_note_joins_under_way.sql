-- Rooms of other servers that a join is under way to: what arrives of them meanwhile waits for it.

CREATE TABLE joins_under_way (
    room_nid bigint PRIMARY KEY,
    until_ts bigint NOT NULL
);

-- An event that was kept unchecked must not keep out the one of the same id that another server sends.
ALTER TABLE waiting_pdus DROP CONSTRAINT waiting_pdus_room_nid_event_id_key;
ALTER TABLE waiting_pdus ADD UNIQUE (room_nid, origin, event_id);
