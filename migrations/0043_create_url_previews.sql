-- Previews of web pages. The address is content too: only a keyed hash of it is here.
CREATE TABLE url_previews (
    address_hash bytea  PRIMARY KEY,
    answer       bytea  NOT NULL,       -- sealed: the JSON that clients get
    media_id     text COLLATE "C",      -- the picture; NULL where there is none
    expires_ts   bigint NOT NULL
);
CREATE INDEX url_previews_by_expiry ON url_previews (expires_ts);

-- Pictures of pages that are to be removed. Noted before they are kept, so that none is lost sight of.
CREATE TABLE url_preview_images (
    media_id text COLLATE "C" PRIMARY KEY,
    due_ts   bigint NOT NULL
);
CREATE INDEX url_preview_images_by_due ON url_preview_images (due_ts);
