-- What other servers are told of a change: which device it was, where it was one alone, and which change came before.

ALTER TABLE device_list_changes ADD COLUMN device_id text COLLATE "C";
ALTER TABLE device_list_changes ADD COLUMN previous_position bigint NOT NULL DEFAULT 0;
