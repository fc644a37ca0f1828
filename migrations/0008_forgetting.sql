-- Deletes states of one partition that a fold has forgotten: those whose newest event is older than `before`. Looks at `most` keys behind
-- `behind`; `last` is the last of them, none at the end, or where somebody else is at this partition. Only a partition whose fold forgets has a
-- row `clock`, and what is newer than that is never deleted. A worker may do this, and delete nothing else.
CREATE FUNCTION millrace.forget(of integer, before bigint, behind text, most integer, OUT last text, OUT gone bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
-- Along the key, whatever the planner thinks of bounds that it does not know: a scan of all states for each step would be a square.
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
    old text[];
BEGIN
    gone := 0;
    IF NOT pg_try_advisory_xact_lock(hashtext('millrace.forget'), of) THEN
        RETURN;
    END IF;
    IF (SELECT s.newest FROM millrace.state s WHERE s.stream = of AND s.key = 'clock') < before THEN
        RAISE 'states of stream % that are newer than its clock are not forgotten', of;
    END IF;
    SELECT max(seen.key), array_agg(seen.key) FILTER (WHERE seen.newest < before AND seen.key <> 'clock') INTO last, old
    FROM (SELECT s.key, s.newest FROM millrace.state s WHERE s.stream = of AND s.key > behind ORDER BY s.key LIMIT most) seen
    -- No clock, nothing to forget.
    WHERE EXISTS (SELECT FROM millrace.state s WHERE s.stream = of AND s.key = 'clock');
    IF old IS NOT NULL THEN
        -- What a decide writes just now is left for the next time.
        WITH free AS (
            SELECT s.key FROM millrace.state s WHERE s.stream = of AND s.key = ANY (old) AND s.newest < before FOR UPDATE SKIP LOCKED
        )
        DELETE FROM millrace.state s USING free WHERE s.stream = of AND s.key = free.key;
        GET DIAGNOSTICS gone = ROW_COUNT;
    END IF;
END
$$;

REVOKE ALL ON FUNCTION millrace.forget FROM PUBLIC;
GRANT EXECUTE ON FUNCTION millrace.forget TO millrace_owner, millrace_worker;
