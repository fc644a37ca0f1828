-- When a head was told: a worker that says that a partition is caught up says so again and again.
ALTER TABLE millrace.head ADD COLUMN told_at timestamptz NOT NULL DEFAULT now();
