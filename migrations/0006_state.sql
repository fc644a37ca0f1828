-- What a fold remembers of each key. All events of the key below `as_of` are in `bytes`; a partition has one fold.
CREATE TABLE millrace.state (
    stream integer NOT NULL,
    key    text COLLATE "C" NOT NULL,
    as_of  bigint NOT NULL,
    newest bigint NOT NULL, -- Event time of the newest event in it, milliseconds since the Unix epoch.
    bytes  bytea NOT NULL,
    PRIMARY KEY (stream, key)
) WITH (fillfactor = 80);

-- Digest of the fold whose states those are.
ALTER TABLE millrace.stream_partition ADD COLUMN fold text COLLATE "C";

-- Where a partition of an aligned pipeline stands: event time of the first event that is not done, milliseconds; the largest number when
-- it is caught up.
CREATE TABLE millrace.head (
    stream     integer PRIMARY KEY,
    event_time bigint NOT NULL
) WITH (fillfactor = 50);

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

GRANT ALL ON millrace.state, millrace.head, millrace.latest, millrace.states TO millrace_owner;
GRANT SELECT, INSERT, UPDATE ON millrace.state, millrace.head, millrace.latest TO millrace_worker;
GRANT SELECT ON millrace.latest, millrace.states TO millrace_reader;

CREATE VIEW millrace.risk_scores AS
SELECT pipeline, run, value ->> 'id' AS id, value ->> 'event_id' AS event_id, millrace.readable(key) AS key,
       (value ->> 'probability')::double precision AS probability, (value ->> 'score')::smallint AS score,
       value ->> 'decision' AS decision, value ->> 'decision_source' AS decision_source, value ->> 'status' AS status,
       value -> 'reasons' AS reasons, model, value ->> 'policy' AS policy,
       (value ->> 'event_time')::timestamptz AS event_time, decided_at
FROM millrace.record WHERE kind = 'prediction' AND function = 'risk' AND value ->> 'decision' IS NOT NULL;

CREATE VIEW millrace.recommendations AS
SELECT pipeline, run, value ->> 'id' AS id, value ->> 'user' AS user_key, value -> 'items' AS items, value ->> 'fallback' AS fallback,
       value -> 'support' AS support, label, score, (value ->> 'event_time')::timestamptz AS event_time, decided_at
FROM millrace.record WHERE kind = 'prediction' AND function = 'recommend' AND value ->> 'user' IS NOT NULL;

GRANT ALL ON millrace.risk_scores, millrace.recommendations TO millrace_owner;
GRANT SELECT ON millrace.risk_scores, millrace.recommendations TO millrace_reader;
