-- What is decided, and how far. One row a partition; P is next_offset, Q is published_offset.
CREATE TABLE millrace.stream_partition (
    pipeline         text COLLATE "C" NOT NULL,
    run              integer NOT NULL,
    topic            text COLLATE "C" NOT NULL,
    partition        integer NOT NULL,
    claim            uuid,
    epoch            bigint NOT NULL DEFAULT 0,
    owner            text,
    claimed_at       timestamptz,
    next_offset      bigint NOT NULL,
    published_offset bigint NOT NULL,
    fold_from        bigint NOT NULL,
    event_time       timestamptz,
    events           bigint NOT NULL DEFAULT 0,
    records          bigint NOT NULL DEFAULT 0,
    skipped          bigint NOT NULL DEFAULT 0,
    dead             bigint NOT NULL DEFAULT 0,
    idle_claims      integer NOT NULL DEFAULT 0,
    suspect_offset   bigint,
    mode             text COLLATE "C" NOT NULL CHECK (mode IN ('both', 'postgres')),
    PRIMARY KEY (pipeline, run, topic, partition),
    CHECK (published_offset <= next_offset)
);

-- One row a prediction or dead letter: the row is the record that is published.
CREATE TABLE millrace.record (
    pipeline   text COLLATE "C" NOT NULL,
    run        integer NOT NULL,
    topic      text COLLATE "C" NOT NULL,
    partition  integer NOT NULL,
    "offset"   bigint NOT NULL,
    n          smallint NOT NULL,
    kind       text COLLATE "C" NOT NULL,
    out_topic  text COLLATE "C" NOT NULL,
    key        bytea,
    headers    json,
    value      json NOT NULL,
    function   text COLLATE "C" NOT NULL,
    model      text COLLATE "C" NOT NULL,
    config     text COLLATE "C" NOT NULL,
    label      text COLLATE "C",
    score      double precision,
    decided_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, run, topic, partition, "offset", n)
);

-- Key of a record as text, for people; bytes that are not UTF-8 show as hexadecimal.
CREATE FUNCTION millrace.readable(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8');
EXCEPTION WHEN OTHERS THEN
    RETURN encode(bytes, 'hex');
END $$;

CREATE VIEW millrace.predictions AS
SELECT pipeline, run, topic, partition, "offset", n, value ->> 'id' AS id, millrace.readable(key) AS key, function, model,
       label, score, value ->> 'event_time' AS event_time, value, decided_at
FROM millrace.record WHERE kind = 'prediction';

CREATE VIEW millrace.dead_letters AS
SELECT pipeline, run, topic, partition, "offset", n, value ->> 'id' AS id, value #>> '{reason,code}' AS reason,
       value #>> '{reason,field}' AS field, value #>> '{reason,detail}' AS detail, out_topic, value, decided_at
FROM millrace.record WHERE kind = 'dead_letter';

CREATE VIEW millrace.sentiments AS
SELECT pipeline, run, value ->> 'id' AS id, millrace.readable(key) AS key, label, score, model,
       value ->> 'event_time' AS event_time, decided_at
FROM millrace.record WHERE kind = 'prediction' AND function = 'sentiment';
