-- Whose an object of the media store is, so that the store can be held against what is known.
CREATE UNIQUE INDEX media_by_object ON media (object_name);
CREATE UNIQUE INDEX thumbnails_by_object ON thumbnails (object_name);
