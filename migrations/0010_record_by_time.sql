-- What was decided in a span of time, for dashboards and people: rows lie on disk in about the order in which they were decided, so an entry for
-- 32 pages is enough. It costs a row nothing that could be measured. It is built beside the workers, so `millrace migrate` runs this one outside of
-- a transaction: one statement, which waits for all transactions that began before it. What an interrupted build left is dropped first.
CREATE INDEX CONCURRENTLY IF NOT EXISTS record_decided_at ON millrace.record USING brin (decided_at)
    WITH (pages_per_range = 32, autosummarize = on);
