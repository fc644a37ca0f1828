-- What replays were asked for, so that one that was cut off goes on within the same bounds. Their rows stand in `stream_partition` and `record`
-- under a name of their own: `name`, which no pipeline of a config has. A number is never given twice.
CREATE TABLE millrace.replay (
    pipeline   text COLLATE "C" NOT NULL,
    number     integer NOT NULL,
    name       text COLLATE "C" NOT NULL UNIQUE,
    plan       json NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    made_by    text NOT NULL DEFAULT session_user,
    done_at    timestamptz,
    removed_at timestamptz,
    PRIMARY KEY (pipeline, number)
);

GRANT ALL ON millrace.replay TO millrace_owner;
GRANT SELECT, INSERT, UPDATE ON millrace.replay TO millrace_worker;
GRANT SELECT ON millrace.replay TO millrace_reader;
