-- What shadows have counted, by the hour: additive, so that several workers write into the same rows. `what` says what `one` and `other`
-- are: the two answers of a flip, or the upper bound of a bin of scores. Nothing of an event stands here but labels that a model had before.
CREATE TABLE millrace.shadow (
    pipeline          text COLLATE "C" NOT NULL,
    hour              timestamptz NOT NULL,
    champion          text COLLATE "C" NOT NULL,
    champion_config   text COLLATE "C" NOT NULL,
    challenger        text COLLATE "C" NOT NULL,
    challenger_config text COLLATE "C" NOT NULL,
    what              text COLLATE "C" NOT NULL,
    one               text COLLATE "C" NOT NULL DEFAULT '',
    other             text COLLATE "C" NOT NULL DEFAULT '',
    count             bigint NOT NULL,
    total             double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (pipeline, hour, champion, champion_config, challenger, challenger_config, what, one, other)
);

-- Some of the events on which the two differed, with what each said. A worker keeps a bounded number an hour; all are counted above.
CREATE TABLE millrace.shadow_flip (
    pipeline          text COLLATE "C" NOT NULL,
    run               integer NOT NULL,
    topic             text COLLATE "C" NOT NULL,
    partition         integer NOT NULL,
    "offset"          bigint NOT NULL,
    at                timestamptz NOT NULL DEFAULT now(),
    champion          text COLLATE "C" NOT NULL,
    champion_config   text COLLATE "C" NOT NULL,
    challenger        text COLLATE "C" NOT NULL,
    challenger_config text COLLATE "C" NOT NULL,
    champion_label    text NOT NULL,
    champion_score    double precision,
    challenger_label  text NOT NULL,
    challenger_score  double precision,
    PRIMARY KEY (pipeline, run, topic, partition, "offset", challenger, challenger_config)
);
CREATE INDEX shadow_flip_at ON millrace.shadow_flip (pipeline, at);

-- Removes what is older than `before` of one pipeline, and says how many rows. Nothing of the last day goes. A worker may do this, and delete
-- nothing else.
CREATE FUNCTION millrace.forget_shadow(of_pipeline text, before timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    counts bigint;
    flips bigint;
    until timestamptz := least(before, now() - interval '1 day');
BEGIN
    DELETE FROM millrace.shadow s WHERE s.pipeline = of_pipeline AND s.hour < until;
    GET DIAGNOSTICS counts = ROW_COUNT;
    DELETE FROM millrace.shadow_flip f WHERE f.pipeline = of_pipeline AND f.at < until;
    GET DIAGNOSTICS flips = ROW_COUNT;
    RETURN counts + flips;
END $$;

REVOKE ALL ON FUNCTION millrace.forget_shadow FROM PUBLIC;
GRANT EXECUTE ON FUNCTION millrace.forget_shadow TO millrace_owner, millrace_worker;
GRANT ALL ON millrace.shadow, millrace.shadow_flip TO millrace_owner;
GRANT SELECT, INSERT, UPDATE ON millrace.shadow TO millrace_worker;
GRANT SELECT, INSERT ON millrace.shadow_flip TO millrace_worker;
GRANT SELECT ON millrace.shadow, millrace.shadow_flip TO millrace_reader;
