-- A chain over the rows of each partition: `digest` is that of all leaves below `upto`, in order, joined to the seal before it.
CREATE TABLE millrace.seal (
    stream integer NOT NULL,
    upto   bigint NOT NULL,
    rows   bigint NOT NULL, -- Since the seal before it.
    digest bytea NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    by     text NOT NULL DEFAULT session_user,
    PRIMARY KEY (stream, upto)
);

-- Whoever seals adds, and changes nothing.
GRANT ALL ON millrace.seal TO millrace_owner;
GRANT SELECT, INSERT ON millrace.seal TO millrace_worker;
GRANT SELECT ON millrace.seal TO millrace_reader;
