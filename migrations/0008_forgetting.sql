-- Deletes the states of one partition that a fold has forgotten: those whose newest event is older by more than `after_ms` than the newest
-- event of the partition, which the row `clock` tells. Looks at `most` keys behind `behind`; `last` is the last of them. A worker may do
-- this, and delete nothing else.
CREATE FUNCTION millrace.forget(of integer, clock text, after_ms bigint, behind text, most integer, OUT last text, OUT gone bigint)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH seen AS (
        SELECT s.key FROM millrace.state s WHERE s.stream = of AND s.key > behind COLLATE "C" ORDER BY s.key LIMIT most
    ), old AS (
        -- What a decide writes just now is left for the next time.
        SELECT s.key FROM millrace.state s JOIN seen ON seen.key = s.key, millrace.state c
        WHERE s.stream = of AND s.key <> clock AND c.stream = of AND c.key = clock AND s.newest < c.newest - after_ms
        FOR UPDATE OF s SKIP LOCKED
    ), deleted AS (
        DELETE FROM millrace.state s USING old WHERE s.stream = of AND s.key = old.key RETURNING 1
    )
    SELECT (SELECT max(key) FROM seen), (SELECT count(*) FROM deleted)
$$;

REVOKE ALL ON FUNCTION millrace.forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION millrace.forget TO millrace_owner, millrace_worker;
