-- Who sent a message that waits for a device, so that of a queue that is full those give way who fill it. Null in rows of
-- older releases.

ALTER TABLE to_device_messages ADD COLUMN sender text COLLATE "C";
