-- Instances of the base interface. due_at serves the events that wait in data.
CREATE TABLE instances (
  dataset TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  due_at INTEGER NOT NULL DEFAULT 0,
  changed_at INTEGER NOT NULL,
  data TEXT NOT NULL,
  PRIMARY KEY (dataset, id)
) WITHOUT ROWID;
CREATE INDEX instances_due ON instances (due_at) WHERE due_at > 0;

-- Which instance each order made or changed: an order is applied once.
CREATE TABLE instance_orders (
  dataset TEXT NOT NULL,
  order_key TEXT NOT NULL,
  instance_id TEXT NOT NULL,
  PRIMARY KEY (dataset, order_key)
) WITHOUT ROWID;
