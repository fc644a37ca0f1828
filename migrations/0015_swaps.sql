-- Which version of each pipeline's settings an operator wants: the wish in force, one row a pipeline. `number` grows by one with each wish. A
-- canary scores `share` of the keys. `before` is the version that `swap --back` goes back to, where there is one.
CREATE TABLE millrace.swap (
    pipeline text COLLATE "C" PRIMARY KEY CHECK (pipeline <> ''),
    number   bigint NOT NULL,
    version  text COLLATE "C" NOT NULL CHECK (version <> ''),
    canary   text COLLATE "C" CHECK (canary <> ''),
    share    double precision CHECK (share > 0 AND share < 1),
    before   text COLLATE "C",
    reason   text NOT NULL CHECK (reason <> '' AND char_length(reason) <= 2000 AND reason !~ '[\u0001-\u001F\u007F-\u009F]'),
    by       text NOT NULL CHECK (by <> '' AND char_length(by) <= 200 AND by !~ '[\u0001-\u001F\u007F-\u009F]'),
    at       timestamptz NOT NULL DEFAULT now(),
    CHECK ((canary IS NULL) = (share IS NULL) AND canary <> version)
);

-- From which offset on a partition works by which wish. The owner of the partition writes a row under its claim, before it puts anything from
-- that offset on to work. At an offset the highest number counts of those that begin at it or before; without any the pipeline's own settings.
CREATE TABLE millrace.version_from (
    stream      integer NOT NULL,
    number      bigint NOT NULL,
    from_offset bigint NOT NULL,
    version     text COLLATE "C" NOT NULL,
    canary      text COLLATE "C",
    share       double precision,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (stream, number)
);

-- The journal says what was wanted, and workers roll back by themselves.
ALTER TABLE millrace.operation ADD COLUMN what text;
ALTER TABLE millrace.operation DROP CONSTRAINT operation_through_check;
ALTER TABLE millrace.operation ADD CONSTRAINT operation_through_check CHECK (through IN ('cli', 'http', 'worker'));

-- Wants a version for all events, or a canary of it beside the one that is wanted now. The wish that is in force already stays, and says so by NULL.
CREATE FUNCTION millrace.set_swap(of_pipeline text, to_version text, of_share double precision, why text, who text, via text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := coalesce(nullif(btrim(who), ''), session_user);
    old millrace.swap;
    fresh bigint;
BEGIN
    INSERT INTO millrace.swap (pipeline, number, version, reason, by) VALUES (of_pipeline, 0, 'base', 'the pipeline''s own settings', name)
    ON CONFLICT (pipeline) DO NOTHING;
    SELECT * INTO old FROM millrace.swap s WHERE s.pipeline = of_pipeline FOR UPDATE;
    IF of_share IS NULL AND old.version = to_version AND old.canary IS NULL
        OR of_share IS NOT NULL AND old.canary = to_version AND old.share = of_share THEN
        RETURN NULL;
    END IF;
    UPDATE millrace.swap s SET
        number = old.number + 1, reason = why, by = name, at = now(),
        version = CASE WHEN of_share IS NULL THEN to_version ELSE old.version END,
        canary = CASE WHEN of_share IS NULL THEN NULL ELSE to_version END,
        share = of_share,
        before = CASE WHEN of_share IS NULL AND old.version <> to_version THEN old.version ELSE old.before END
    WHERE s.pipeline = of_pipeline RETURNING s.number INTO fresh;
    INSERT INTO millrace.operation (action, pipeline, reason, by, through, what)
    VALUES ('swap', of_pipeline, why, name, via, to_version || coalesce(' for ' || of_share::text || ' of the keys', ''));
    RETURN fresh;
END $$;

-- Takes the last step back: a canary goes, or the version before is wanted again. With `only` nothing is done unless that is the wish in force.
-- The number of the new wish, or NULL where there was nothing to go back from.
CREATE FUNCTION millrace.swap_back(of_pipeline text, only_number bigint, why text, who text, via text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := coalesce(nullif(btrim(who), ''), session_user);
    old millrace.swap;
    fresh bigint;
BEGIN
    SELECT * INTO old FROM millrace.swap s WHERE s.pipeline = of_pipeline FOR UPDATE;
    IF NOT FOUND OR old.number <> coalesce(only_number, old.number) OR old.canary IS NULL AND old.before IS NULL THEN
        RETURN NULL;
    END IF;
    UPDATE millrace.swap s SET
        number = old.number + 1, reason = why, by = name, at = now(), canary = NULL, share = NULL,
        version = CASE WHEN old.canary IS NULL THEN old.before ELSE old.version END,
        before = CASE WHEN old.canary IS NULL THEN NULL ELSE old.before END
    WHERE s.pipeline = of_pipeline RETURNING s.number INTO fresh;
    INSERT INTO millrace.operation (action, pipeline, reason, by, through, what)
    VALUES ('swap back', of_pipeline, why, name, via, 'from ' || coalesce(old.canary, old.version) || ' to '
        || CASE WHEN old.canary IS NULL THEN old.before ELSE old.version END);
    RETURN fresh;
END $$;

REVOKE ALL ON FUNCTION millrace.set_swap, millrace.swap_back FROM PUBLIC;
GRANT EXECUTE ON FUNCTION millrace.set_swap, millrace.swap_back TO millrace_owner, millrace_worker;
GRANT ALL ON millrace.version_from TO millrace_owner;
GRANT SELECT ON millrace.swap TO millrace_owner, millrace_worker, millrace_reader;
GRANT SELECT, INSERT ON millrace.version_from TO millrace_worker;
GRANT SELECT ON millrace.version_from TO millrace_reader;
