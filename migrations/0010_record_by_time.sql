-- What was decided in a span of time, for dashboards and people: rows lie on disk in about the order in which they were decided, so an entry for
-- 32 pages is enough. It costs a row nothing that could be measured. On a large table make it beforehand, without holding up workers:
-- CREATE INDEX CONCURRENTLY record_decided_at … with the same words.
CREATE INDEX IF NOT EXISTS record_decided_at ON millrace.record USING brin (decided_at) WITH (pages_per_range = 32, autosummarize = on);
