-- What a fold remembers of each key. All events of the key below `as_of` are in `bytes`; a partition has one fold.
CREATE TABLE millrace.state (
    stream integer NOT NULL,
    key    text COLLATE "C" NOT NULL,
    as_of  bigint NOT NULL,
    newest bigint NOT NULL, -- Event time of the newest event in it, milliseconds since the Unix epoch.
    bytes  bytea NOT NULL,
    PRIMARY KEY (stream, key)
) WITH (fillfactor = 80);

-- `fold`: digest of the fold whose states those are. `head_time`: event time of the first event that is not done, for pipelines that
-- keep their partitions aligned; the largest number when the partition is caught up.
ALTER TABLE millrace.stream_partition ADD COLUMN fold text COLLATE "C", ADD COLUMN head_time bigint;

-- The newest record of each key, for outputs declared `keep = "latest"`.
CREATE TABLE millrace.latest (
    pipeline   text COLLATE "C" NOT NULL,
    out_topic  text COLLATE "C" NOT NULL,
    key        bytea NOT NULL,
    run        integer NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    "offset"   bigint NOT NULL,
    n          smallint NOT NULL,
    value      json NOT NULL,
    function   text COLLATE "C" NOT NULL,
    model      text COLLATE "C" NOT NULL,
    config     text COLLATE "C" NOT NULL,
    label      text COLLATE "C",
    score      double precision,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, out_topic, key)
) WITH (fillfactor = 80);

-- States by the names of their partition, for people.
CREATE VIEW millrace.states AS
SELECT p.pipeline, p.run, p.topic, p.partition, p.fold, s.key, s.as_of, to_timestamp(nullif(s.newest, -9223372036854775808) / 1000.0) AS newest,
       octet_length(s.bytes) AS bytes
FROM millrace.state s JOIN millrace.stream_partition p USING (stream);

GRANT ALL ON millrace.state, millrace.latest, millrace.states TO millrace_owner;
GRANT SELECT, INSERT, UPDATE ON millrace.state, millrace.latest TO millrace_worker;
GRANT SELECT ON millrace.latest, millrace.states TO millrace_reader;
