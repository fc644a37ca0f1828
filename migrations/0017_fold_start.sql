-- Where a run began to fold a partition, below where it began to score: a new run folds what the log has of the past. Not known of rows that are
-- older than this column, nor of a run's first rows: these began to fold where they began to score.
ALTER TABLE millrace.stream_partition ADD COLUMN fold_start bigint;
