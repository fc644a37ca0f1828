-- What an operator has paused. Workers read it every second: while a row names a partition nothing of it is begun. A topic '' is
-- every topic of the pipeline, a partition -1 every partition.
CREATE TABLE millrace.pause (
    pipeline  text COLLATE "C" NOT NULL CHECK (pipeline <> ''),
    topic     text COLLATE "C" NOT NULL DEFAULT '',
    partition integer NOT NULL DEFAULT -1,
    reason    text NOT NULL CHECK (reason <> '' AND char_length(reason) <= 2000 AND reason !~ '[\u0001-\u001F\u007F-\u009F]'),
    by        text NOT NULL CHECK (by <> '' AND char_length(by) <= 200 AND by !~ '[\u0001-\u001F\u007F-\u009F]'),
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, topic, partition),
    CHECK (partition >= -1 AND (partition = -1 OR topic <> ''))
);

-- What operators did: who (the name that they gave, and the login of the session), what, when, why. `through` is `cli` or `http`.
CREATE TABLE millrace.operation (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    action    text COLLATE "C" NOT NULL,
    pipeline  text COLLATE "C" NOT NULL,
    topic     text COLLATE "C" NOT NULL DEFAULT '',
    partition integer NOT NULL DEFAULT -1,
    reason    text CHECK (char_length(reason) <= 2000 AND reason !~ '[\u0001-\u001F\u007F-\u009F]'),
    by        text NOT NULL CHECK (by <> '' AND char_length(by) <= 200 AND by !~ '[\u0001-\u001F\u007F-\u009F]'),
    through   text COLLATE "C" NOT NULL CHECK (through IN ('cli', 'http')),
    login     text NOT NULL DEFAULT session_user
);
CREATE INDEX operation_pipeline ON millrace.operation (pipeline, id);

CREATE FUNCTION millrace.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what stands in millrace.% is never changed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER written_once BEFORE UPDATE OR DELETE OR TRUNCATE ON millrace.operation
    FOR EACH STATEMENT EXECUTE FUNCTION millrace.refuse_change();

-- Pauses, and writes it into the journal. A second pause of the same changes reason and name, not the time. Whether it is new.
CREATE FUNCTION millrace.set_pause(of_pipeline text, of_topic text, of_partition integer, why text, who text, via text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := coalesce(nullif(btrim(who), ''), session_user);
    fresh boolean;
BEGIN
    INSERT INTO millrace.pause (pipeline, topic, partition, reason, by) VALUES (of_pipeline, of_topic, of_partition, why, name)
    ON CONFLICT (pipeline, topic, partition) DO UPDATE SET reason = excluded.reason, by = excluded.by
    RETURNING xmax = 0 INTO fresh;
    INSERT INTO millrace.operation (action, pipeline, topic, partition, reason, by, through)
    VALUES ('pause', of_pipeline, of_topic, of_partition, why, name, via);
    RETURN fresh;
END $$;

-- Lifts one pause, or all of a pipeline, and writes each into the journal. How many there were.
CREATE FUNCTION millrace.lift_pause(of_pipeline text, of_topic text, of_partition integer, everything boolean, why text, who text, via text)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    lifted bigint;
BEGIN
    WITH gone AS (
        DELETE FROM millrace.pause p WHERE p.pipeline = of_pipeline AND (everything OR p.topic = of_topic AND p.partition = of_partition)
        RETURNING p.topic, p.partition
    )
    INSERT INTO millrace.operation (action, pipeline, topic, partition, reason, by, through)
    SELECT 'resume', of_pipeline, gone.topic, gone.partition, why, coalesce(nullif(btrim(who), ''), session_user), via
    FROM gone ORDER BY gone.topic, gone.partition;
    GET DIAGNOSTICS lifted = ROW_COUNT;
    RETURN lifted;
END $$;

-- A worker's login writes both tables by these functions alone, so that no pause of its is without a line in the journal. Who owns the tables (a
-- member of millrace_owner, where that role made the schema) can do as it likes, also take the trigger away: the journal is evidence against
-- slips and workers, not against the owner of the database.
REVOKE ALL ON FUNCTION millrace.set_pause, millrace.lift_pause FROM PUBLIC;
GRANT EXECUTE ON FUNCTION millrace.set_pause, millrace.lift_pause TO millrace_owner, millrace_worker;
GRANT SELECT ON millrace.pause, millrace.operation TO millrace_owner, millrace_worker, millrace_reader;
