-- Reports of resyncs. id is a UUIDv7: it sorts by start. data is all but the
-- differences, which are packed.
CREATE TABLE resyncs (
  target TEXT NOT NULL,
  id TEXT NOT NULL,
  data TEXT NOT NULL,
  drifts BLOB,
  PRIMARY KEY (target, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX resyncs_id ON resyncs (id);
