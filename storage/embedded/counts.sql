-- How many slots are in which state, by target and scope, and how many of the
-- departments and accounts the target has: one row instead of one for each
-- state, kept exact by the triggers below.
DROP TRIGGER slots_count_insert;
DROP TRIGGER slots_count_update;
DROP TRIGGER slots_count_delete;
DROP TRIGGER slots_object_insert;
DROP TRIGGER slots_object_update;
DROP TRIGGER slots_object_delete;
DROP TABLE slot_counts;
DROP TABLE slot_objects;
CREATE TABLE slot_counts (
  target TEXT NOT NULL,
  scope INTEGER NOT NULL,
  pending INTEGER NOT NULL DEFAULT 0,
  retrying INTEGER NOT NULL DEFAULT 0,
  waiting INTEGER NOT NULL DEFAULT 0,
  delivered INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  held INTEGER NOT NULL DEFAULT 0,
  kept INTEGER NOT NULL DEFAULT 0,
  leaving INTEGER NOT NULL DEFAULT 0,
  objects INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (target, scope)
) WITHOUT ROWID;
INSERT INTO slot_counts
  SELECT target, scope, SUM(state = 1), SUM(state = 2), SUM(state = 3), SUM(state = 4), SUM(state = 5), SUM(state = 6), SUM(state = 7), SUM(state = 8),
    SUM(kind < 3 AND remote_id <> '')
  FROM slots GROUP BY target, scope;

CREATE TRIGGER slots_count_insert AFTER INSERT ON slots BEGIN
  INSERT INTO slot_counts (target, scope) VALUES (new.target, new.scope) ON CONFLICT DO NOTHING;
  UPDATE slot_counts SET pending = pending + (new.state = 1), retrying = retrying + (new.state = 2), waiting = waiting + (new.state = 3),
    delivered = delivered + (new.state = 4), dead = dead + (new.state = 5), held = held + (new.state = 6), kept = kept + (new.state = 7),
    leaving = leaving + (new.state = 8), objects = objects + (new.kind < 3 AND new.remote_id <> '')
    WHERE target = new.target AND scope = new.scope;
END;
CREATE TRIGGER slots_count_update AFTER UPDATE OF state, remote_id ON slots
  WHEN old.state <> new.state OR (old.remote_id = '') <> (new.remote_id = '') BEGIN
  UPDATE slot_counts SET pending = pending + (new.state = 1) - (old.state = 1), retrying = retrying + (new.state = 2) - (old.state = 2),
    waiting = waiting + (new.state = 3) - (old.state = 3), delivered = delivered + (new.state = 4) - (old.state = 4),
    dead = dead + (new.state = 5) - (old.state = 5), held = held + (new.state = 6) - (old.state = 6), kept = kept + (new.state = 7) - (old.state = 7),
    leaving = leaving + (new.state = 8) - (old.state = 8), objects = objects + (new.kind < 3) * ((old.remote_id = '') - (new.remote_id = ''))
    WHERE target = new.target AND scope = new.scope;
END;
CREATE TRIGGER slots_count_delete AFTER DELETE ON slots BEGIN
  UPDATE slot_counts SET pending = pending - (old.state = 1), retrying = retrying - (old.state = 2), waiting = waiting - (old.state = 3),
    delivered = delivered - (old.state = 4), dead = dead - (old.state = 5), held = held - (old.state = 6), kept = kept - (old.state = 7),
    leaving = leaving - (old.state = 8), objects = objects - (old.kind < 3 AND old.remote_id <> '')
    WHERE target = old.target AND scope = old.scope;
END;

-- The same slots as before in other words: for each row that is written, SQLite
-- builds a table to test a list of three.
DROP INDEX slots_due;
CREATE INDEX slots_due ON slots (target, scope, kind, due_at) WHERE state = 1 OR state = 2 OR state = 8;
DROP INDEX slots_dirty;
CREATE INDEX slots_dirty ON slots (target, scope, dirty_since) WHERE state = 1 OR state = 2 OR state = 3;
