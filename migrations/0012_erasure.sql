-- Rows whose payload was erased on demand: the row, its id and its place stay, so that counts and offsets still add up.
CREATE TABLE millrace.erased (
    stream   integer NOT NULL,
    "offset" bigint NOT NULL,
    n        smallint NOT NULL,
    at       timestamptz NOT NULL DEFAULT now(),
    by       text NOT NULL DEFAULT session_user,
    PRIMARY KEY (stream, "offset", n)
);

-- The owner erases; a worker never rewrites a record.
GRANT ALL ON millrace.erased TO millrace_owner;
GRANT SELECT ON millrace.erased TO millrace_worker, millrace_reader;
