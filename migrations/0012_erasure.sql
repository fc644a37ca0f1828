-- What a row says, in 32 bytes: any later change shows. The payload has a digest of its own, which stays when the payload is erased; everything else
-- goes on being compared.
CREATE FUNCTION millrace.payload_digest(r millrace.record) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(convert_to(json_build_array('payload 1', encode(r.key, 'hex'), r.headers, r.value)::text, 'UTF8'))
$$;

CREATE FUNCTION millrace.leaf(r millrace.record, payload bytea) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT sha256(sha256(convert_to(json_build_array('row 1', r.pipeline, r.run, r.topic, r.partition, r."offset", r.n, r.kind, r.out_topic, r.function,
        r.model, r.config, r.label, encode(float8send(r.score), 'hex'), (extract(epoch FROM r.decided_at) * 1000000)::bigint)::text, 'UTF8')) || payload)
$$;

-- Rows whose payload was erased on demand: the row, its id and its place stay, so that counts and offsets still add up.
CREATE TABLE millrace.erased (
    stream   integer NOT NULL,
    "offset" bigint NOT NULL,
    n        smallint NOT NULL,
    payload  bytea NOT NULL, -- Digest of what was there.
    at       timestamptz NOT NULL DEFAULT now(),
    by       text NOT NULL DEFAULT session_user,
    PRIMARY KEY (stream, "offset", n)
);

-- The owner erases; a worker never rewrites a record.
GRANT ALL ON millrace.erased TO millrace_owner;
GRANT SELECT ON millrace.erased TO millrace_worker, millrace_reader;
