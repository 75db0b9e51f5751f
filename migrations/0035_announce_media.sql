-- Media ids that users have created and not uploaded anything to yet.
CREATE TABLE announced_media (
    media_id   text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    expires_ts bigint           NOT NULL
);
CREATE INDEX announced_media_by_user ON announced_media (user_id, expires_ts);
CREATE INDEX announced_media_by_expiry ON announced_media (expires_ts);
