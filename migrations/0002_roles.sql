-- Least privilege. Roles belong to the whole cluster, so they may be there already, or be made by another database at this moment.
DO $$
DECLARE name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['millrace_owner', 'millrace_worker', 'millrace_reader'] LOOP
        -- Looked for first: who may not make roles may still use those that are there.
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

GRANT USAGE ON SCHEMA millrace TO millrace_worker, millrace_reader;
GRANT ALL ON SCHEMA millrace TO millrace_owner;
GRANT ALL ON ALL TABLES IN SCHEMA millrace TO millrace_owner;
-- The worker decides: it adds rows and moves offsets. It may neither delete nor alter, and never rewrites a record.
GRANT SELECT, INSERT, UPDATE ON millrace.stream_partition TO millrace_worker;
GRANT SELECT, INSERT ON millrace.record TO millrace_worker;
GRANT SELECT ON millrace.migration TO millrace_worker, millrace_reader;
GRANT SELECT ON millrace.stream_partition, millrace.record, millrace.predictions, millrace.dead_letters, millrace.sentiments
    TO millrace_reader;
