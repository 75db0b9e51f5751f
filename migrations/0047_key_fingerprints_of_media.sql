-- A plain hash of a file lets whoever has the database try what may be in it: files get fingerprints, which take a key.
-- Of those from before it is not known, and they get one that no other has: what was withdrawn of them is known by name.
ALTER TABLE media DROP COLUMN sha256, ADD COLUMN fingerprint bytea;
UPDATE media SET fingerprint = decode(md5(object_name), 'hex');
ALTER TABLE media ALTER COLUMN fingerprint SET NOT NULL;
ALTER TABLE quarantined_media DROP COLUMN sha256, ADD COLUMN fingerprint bytea;  -- where it was here and not empty
CREATE INDEX quarantined_media_by_content ON quarantined_media (fingerprint) WHERE fingerprint IS NOT NULL;
