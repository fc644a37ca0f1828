-- What a row says, in 32 bytes: any later change shows. The value is hashed as it is written.
CREATE FUNCTION millrace.leaf(r millrace.record) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(json_build_array(r."offset", r.n, r.kind, r.out_topic, encode(r.key, 'hex'), r.headers, r.value, r.function, r.model,
        r.config, r.label, encode(float8send(r.score), 'hex'), (extract(epoch FROM r.decided_at) * 1000000)::bigint)::text, 'UTF8'))
$$;

-- Rows whose payload was erased on demand: the row, its id and its place stay, so that counts and offsets still add up.
CREATE TABLE millrace.erased (
    stream   integer NOT NULL,
    "offset" bigint NOT NULL,
    n        smallint NOT NULL,
    leaf     bytea NOT NULL, -- Of the row as it was.
    at       timestamptz NOT NULL DEFAULT now(),
    by       text NOT NULL DEFAULT session_user,
    PRIMARY KEY (stream, "offset", n)
);

-- The owner erases; a worker never rewrites a record.
GRANT ALL ON millrace.erased TO millrace_owner;
GRANT SELECT ON millrace.erased TO millrace_worker, millrace_reader;
