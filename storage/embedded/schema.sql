-- One row for each tenant's data of one instance, with what is kept of it as a whole.
CREATE TABLE scopes (
  id INTEGER PRIMARY KEY,
  dataset TEXT NOT NULL,
  tenant_id TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  full_time INTEGER NOT NULL DEFAULT 0,
  full_digest BLOB,
  departments INTEGER NOT NULL DEFAULT 0,
  parent_missing INTEGER NOT NULL DEFAULT 0,
  users INTEGER NOT NULL DEFAULT 0,
  applications INTEGER NOT NULL DEFAULT 0,
  seq INTEGER NOT NULL DEFAULT 0,
  hold TEXT,
  last_full TEXT,
  last_incremental TEXT,
  UNIQUE (dataset, tenant_id, instance_id)
);

-- The directory. seq is the place in the change feed; name and parent serve
-- departments and users alike; the rest of users, tenants and applications is
-- in data. flags: 1 deleted, 2 parent missing.
CREATE TABLE entities (
  scope INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  key TEXT NOT NULL,
  name TEXT NOT NULL,
  parent TEXT NOT NULL,
  flags INTEGER NOT NULL,
  version INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  source_time INTEGER NOT NULL,
  changed_at INTEGER NOT NULL,
  data TEXT,
  PRIMARY KEY (scope, kind, key)
) WITHOUT ROWID;
CREATE INDEX entities_parent ON entities (scope, kind, parent);
CREATE UNIQUE INDEX entities_seq ON entities (seq);
CREATE INDEX entities_tombstones ON entities (changed_at) WHERE flags & 1 = 1;

-- Every push that was accepted. id is a UUIDv7: it sorts by arrival.
CREATE TABLE journal (
  id TEXT NOT NULL UNIQUE,
  scope INTEGER NOT NULL,
  kind TEXT NOT NULL,
  flag INTEGER NOT NULL,
  source_time INTEGER NOT NULL,
  received_at INTEGER NOT NULL,
  applied_at INTEGER NOT NULL DEFAULT 0,
  phase TEXT NOT NULL,
  result TEXT NOT NULL DEFAULT '',
  counts TEXT NOT NULL DEFAULT '',
  note TEXT NOT NULL DEFAULT '',
  size INTEGER NOT NULL,
  decisions BLOB,
  raw BLOB
);
CREATE INDEX journal_scope ON journal (scope, id);
CREATE INDEX journal_open ON journal (id) WHERE phase = 'received';
CREATE INDEX journal_held ON journal (id) WHERE result = 'held';
CREATE INDEX journal_applied ON journal (applied_at) WHERE phase = 'applied';

-- What each target should have of each entity, and what it has.
-- state: 1 pending, 2 retrying, 3 waiting, 4 delivered, 5 dead.
CREATE TABLE slots (
  target TEXT NOT NULL,
  scope INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  key TEXT NOT NULL,
  state INTEGER NOT NULL,
  desired INTEGER NOT NULL,
  delivered INTEGER NOT NULL DEFAULT 0,
  hash TEXT NOT NULL DEFAULT '',
  remote_id TEXT NOT NULL DEFAULT '',
  grp TEXT NOT NULL DEFAULT '',
  uncertain INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0,
  dirty_since INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  marks INTEGER NOT NULL DEFAULT 0, -- how often it was made due; tells a late outcome
  failed_at INTEGER NOT NULL DEFAULT 0,
  error_class TEXT NOT NULL DEFAULT '',
  last_error TEXT NOT NULL DEFAULT '',
  delivered_at INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (target, scope, kind, key)
) WITHOUT ROWID;
CREATE INDEX slots_due ON slots (target, scope, kind, due_at) WHERE state IN (1, 2);
CREATE INDEX slots_dirty ON slots (target, scope, dirty_since) WHERE state IN (1, 2, 3);
CREATE INDEX slots_group ON slots (target, scope, grp) WHERE grp <> '';
CREATE INDEX slots_open ON slots (target, scope, state) WHERE state <> 4;
CREATE INDEX slots_failed ON slots (target, scope, failed_at) WHERE last_error <> '';

-- How many slots are in which state, kept exact by the triggers below.
CREATE TABLE slot_counts (
  target TEXT NOT NULL,
  scope INTEGER NOT NULL,
  state INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (target, scope, state)
) WITHOUT ROWID;
CREATE INDEX slot_counts_open ON slot_counts (target, scope) WHERE state IN (1, 2) AND n > 0;

CREATE TRIGGER slots_count_insert AFTER INSERT ON slots BEGIN
  INSERT INTO slot_counts VALUES (new.target, new.scope, new.state, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER slots_count_update AFTER UPDATE OF state ON slots WHEN old.state <> new.state BEGIN
  UPDATE slot_counts SET n = n - 1 WHERE target = old.target AND scope = old.scope AND state = old.state;
  INSERT INTO slot_counts VALUES (new.target, new.scope, new.state, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER slots_count_delete AFTER DELETE ON slots BEGIN
  UPDATE slot_counts SET n = n - 1 WHERE target = old.target AND scope = old.scope AND state = old.state;
END;

-- How far each target's relay has read the change feed.
CREATE TABLE relays (
  target TEXT PRIMARY KEY,
  seq INTEGER NOT NULL
) WITHOUT ROWID;
