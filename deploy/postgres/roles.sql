-- Logins of Millrace, each a member of one of its roles. Run it once in Millrace's database, as a superuser or as who may make roles and owns
-- the database, before the first `millrace migrate`; run again it changes nothing but what differs:
--
--   psql -v ON_ERROR_STOP=1 -d millrace -f deploy/postgres/roles.sql
--
-- Logins have no password here, so none gets in by one before it is set: \password millrace_app
--
--   millrace_migrator   owns the schema: `millrace migrate`, and marking dead letters (`dead-letters redrive`, `discard`)
--   millrace_app        the workers, all with this one login: a worker ends the session of another that stands still
--   millrace_dashboard  reads views, records and what is kept of keys: everything that events hold, which `show_payloads = false` hides on a worker's
--                       page. Grafana sends any SQL of whoever may open a board through it, so let in only who may read events
--
-- Operators: give each a login of his own. The journal `millrace.operation` has in `by` the name that somebody gave, and in `login` the one that Postgres
-- knows; of all who use `millrace_app` that is the same. A member of millrace_worker pauses, swaps, replays; one of millrace_owner also redrives, discards, erases:
--
--   CREATE ROLE ann LOGIN CONNECTION LIMIT 10; GRANT millrace_worker TO ann;
--
-- What comes over HTTP has the login of the worker: there the one token is all that is known.
--
-- Connections: a worker holds two a pipeline and two more (`max_connections` under [postgres]), three while somebody looks things up, and one where a
-- pipeline has a shadow; a command such as `replay` or `verify` has some of its own, and rounds that had no answer take two a pipeline more for a moment. The limits below are for each login, over all workers: one of
-- four pipelines takes up to 14, so 100 are enough for seven of them. A command of the migrator's, such as `retention`, takes up to two, so eight may run at the same time. Change the number here too: what is run again sets it.
DO $$
DECLARE
    name text;
    login text;
    setting text[];
BEGIN
    FOREACH name IN ARRAY ARRAY['millrace_owner', 'millrace_worker', 'millrace_reader'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = name);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL; -- Somebody else made it at this moment.
        END;
    END LOOP;

    FOREACH setting SLICE 1 IN ARRAY ARRAY[
        ['millrace_migrator', 'millrace_owner', '16'],
        ['millrace_app', 'millrace_worker', '100'],
        ['millrace_dashboard', 'millrace_reader', '20']
    ] LOOP
        login := setting[1];
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = login) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I LOGIN', login);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;
            END;
        END IF;
        EXECUTE format('ALTER ROLE %I CONNECTION LIMIT %s', login, setting[3]);
        EXECUTE format('GRANT %I TO %I', setting[2], login);
    END LOOP;

    -- What a migration makes belongs to the role, not to the login that ran it: another member may run the next one.
    ALTER ROLE millrace_migrator SET role = 'millrace_owner';
    -- A migration waits for a lock no longer than workers can wait behind it.
    ALTER ROLE millrace_migrator SET lock_timeout = '10s';

    -- The program sets the time-outs of its own statements. These end what is left of a worker that is gone, so that no row stays locked.
    ALTER ROLE millrace_app SET idle_in_transaction_session_timeout = '60s';
    ALTER ROLE millrace_app SET tcp_keepalives_idle = '10s';
    ALTER ROLE millrace_app SET tcp_keepalives_interval = '5s';
    ALTER ROLE millrace_app SET tcp_keepalives_count = 3;
    ALTER ROLE millrace_app SET tcp_user_timeout = '30s';
    IF current_setting('server_version_num')::int >= 140000 THEN
        ALTER ROLE millrace_app SET client_connection_check_interval = '10s';
    END IF;

    ALTER ROLE millrace_dashboard SET default_transaction_read_only = on;
    ALTER ROLE millrace_dashboard SET statement_timeout = '30s';
    ALTER ROLE millrace_dashboard SET idle_in_transaction_session_timeout = '30s';

    -- This database is Millrace's: others do not get in.
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO millrace_owner, millrace_worker, millrace_reader', current_database());
    EXECUTE format('GRANT CREATE ON DATABASE %I TO millrace_owner', current_database());

    -- Before version 15 every login may make tables and functions in `public`. Nothing of Millrace stands there: all is in the schema `millrace`.
    IF to_regnamespace('public') IS NOT NULL THEN
        REVOKE CREATE ON SCHEMA public FROM PUBLIC;
        IF has_schema_privilege('public', 'public', 'CREATE') THEN
            RAISE WARNING 'every login may still create in the schema public: run this once as a superuser, or as the owner of that schema';
        END IF;
    END IF;
END $$;
