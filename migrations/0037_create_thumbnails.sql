-- Smaller images of media, made when they are first asked for.
CREATE TABLE thumbnails (
    server_name text COLLATE "C" NOT NULL,
    media_id    text COLLATE "C" NOT NULL,
    variant     text COLLATE "C" NOT NULL,  -- such as crop-96x96
    object_name text COLLATE "C" NOT NULL,
    details     bytea            NOT NULL,  -- sealed: the key of the file, its content type
    size_bytes  bigint           NOT NULL,
    created_ts  bigint           NOT NULL,
    PRIMARY KEY (server_name, media_id, variant)
);
