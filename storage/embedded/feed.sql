-- Which process numbered which part of the change feed (storage.Place). until is
-- the last number before the next epoch, NULL for the present one.
CREATE TABLE feed_epochs (
  id TEXT PRIMARY KEY,
  until INTEGER
) WITHOUT ROWID;
CREATE UNIQUE INDEX feed_epochs_present ON feed_epochs (until IS NULL) WHERE until IS NULL;
