-- A chain over the rows of each partition: `digest` is that of the seal before it (none for the first) and of all leaves of [since, upto), in order.
CREATE TABLE millrace.seal (
    stream integer NOT NULL,
    since  bigint NOT NULL,
    upto   bigint NOT NULL,
    rows   bigint NOT NULL,
    digest bytea NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    by     text NOT NULL DEFAULT session_user,
    PRIMARY KEY (stream, upto)
);

-- The owner seals: a worker that could would be able to seal what is not there.
GRANT ALL ON millrace.seal TO millrace_owner;
GRANT SELECT ON millrace.seal TO millrace_worker, millrace_reader;
