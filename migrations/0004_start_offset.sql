-- Where a run began in a partition: from there on each event has an ending. Not known of rows that are older than this column.
ALTER TABLE millrace.stream_partition ADD COLUMN start_offset bigint;
