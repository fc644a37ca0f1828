-- What an operator did about a dead letter. One row a dead letter; without a row it is open.
CREATE TABLE millrace.dead_letter_mark (
    pipeline  text COLLATE "C" NOT NULL,
    run       integer NOT NULL,
    topic     text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset"  bigint NOT NULL,
    n         smallint NOT NULL,
    action    text COLLATE "C" NOT NULL CHECK (action IN ('redriving', 'redriven', 'discarded')),
    at        timestamptz NOT NULL DEFAULT now(),
    by        text NOT NULL DEFAULT session_user,
    note      text,
    PRIMARY KEY (pipeline, run, topic, partition, "offset", n)
);

-- New columns stand at the end: a view can only grow.
CREATE OR REPLACE VIEW millrace.dead_letters AS
SELECT r.pipeline, r.run, r.topic, r.partition, r."offset", r.n, r.value ->> 'id' AS id, r.value #>> '{reason,code}' AS reason,
       r.value #>> '{reason,field}' AS field, r.value #>> '{reason,detail}' AS detail, r.out_topic, r.value, r.decided_at,
       coalesce(m.action, 'open') AS handling
FROM millrace.record r LEFT JOIN millrace.dead_letter_mark m USING (pipeline, run, topic, partition, "offset", n)
WHERE r.kind = 'dead_letter';

-- Marks are the owner's to write: a worker decides about events, and not about what people did.
GRANT ALL ON millrace.dead_letter_mark TO millrace_owner;
GRANT SELECT ON millrace.dead_letter_mark TO millrace_worker, millrace_reader;

-- Dead letters are few among many rows.
CREATE INDEX record_dead_letter ON millrace.record (pipeline, decided_at) WHERE kind = 'dead_letter';
