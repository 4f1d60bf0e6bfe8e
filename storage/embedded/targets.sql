-- What is kept of each target as a whole, as JSON.
CREATE TABLE targets (
  name TEXT PRIMARY KEY,
  data TEXT NOT NULL
) WITHOUT ROWID;

-- The version whose removal may go on, and the one whose removal was rejected.
ALTER TABLE slots ADD COLUMN cleared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE slots ADD COLUMN kept INTEGER NOT NULL DEFAULT 0;

-- Further states: 6 held, 7 kept, 8 leaving. The last becomes due by itself.
DROP INDEX slots_due;
CREATE INDEX slots_due ON slots (target, scope, kind, due_at) WHERE state IN (1, 2, 8);
DROP INDEX slot_counts_open;
CREATE INDEX slot_counts_open ON slot_counts (target, scope) WHERE state IN (1, 2, 8) AND n > 0;

-- How many departments and accounts each target has, kept exact by the
-- triggers below.
CREATE TABLE slot_objects (
  target TEXT PRIMARY KEY,
  n INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO slot_objects SELECT target, COUNT(*) FROM slots WHERE kind IN (1, 2) AND remote_id <> '' GROUP BY target;

CREATE TRIGGER slots_object_insert AFTER INSERT ON slots WHEN new.remote_id <> '' AND new.kind IN (1, 2) BEGIN
  INSERT INTO slot_objects VALUES (new.target, 1) ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER slots_object_update AFTER UPDATE OF remote_id ON slots
  WHEN (old.remote_id = '') <> (new.remote_id = '') AND new.kind IN (1, 2) BEGIN
  INSERT INTO slot_objects VALUES (new.target, CASE WHEN new.remote_id = '' THEN -1 ELSE 1 END)
    ON CONFLICT DO UPDATE SET n = n + excluded.n;
END;
CREATE TRIGGER slots_object_delete AFTER DELETE ON slots WHEN old.remote_id <> '' AND old.kind IN (1, 2) BEGIN
  UPDATE slot_objects SET n = n - 1 WHERE target = old.target;
END;
