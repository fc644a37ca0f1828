-- What retention has removed of a partition, so that the counts of `stream_partition` still add up: predictions below `below`, and those dead
-- letters below it that somebody had dealt with.
CREATE TABLE millrace.removed (
    stream integer PRIMARY KEY,
    below  bigint NOT NULL,
    rows   bigint NOT NULL, -- Dead letters among them.
    dead   bigint NOT NULL,
    events bigint NOT NULL, -- That have no row left.
    at     timestamptz NOT NULL DEFAULT now(),
    by     text NOT NULL DEFAULT session_user
);

-- A worker never deletes: the owner does.
GRANT ALL ON millrace.removed TO millrace_owner;
GRANT SELECT ON millrace.removed TO millrace_worker, millrace_reader;
