"""What Postgres says of the partitions and the dead letters, whether workers run or not."""

from kit import CHOSEN, DECIDED, RED, YELLOW, bars, sql, stat, steps, stored, table

NEWEST = f"{CHOSEN} AND run = (SELECT max(n.run) FROM millrace.stream_partition n WHERE n.pipeline = p.pipeline)"


def whole():
    return stored(
        "millrace-decisions",
        "Millrace / Decisions",
        "Partitions, dead letters and volume as Postgres has them, read by the role millrace_reader. Works while no worker is up.",
        [("Partitions", partitions()), ("Dead letters", dead_letters()), ("Volume", volume())],
    )


def partitions():
    return [
        table(
            "Partitions of the newest run",
            "P: all below is decided. Q: all below is known to be published; it is a late copy of the group's offset, so a gap while events come is normal.",
            sql(
                f"""
SELECT p.pipeline, p.topic, p.partition, p.run, p.mode, p.next_offset AS p, p.published_offset AS q,
       p.next_offset - p.published_offset AS gap, p.owner, p.epoch, p.claimed_at, p.event_time, p.events, p.records, p.skipped, p.dead
FROM millrace.stream_partition p
WHERE {NEWEST}
ORDER BY p.pipeline, p.topic, p.partition"""
            ),
            columns={
                "pipeline": "Pipeline",
                "topic": "Topic",
                "partition": "Partition",
                "run": "Run",
                "mode": "Mode",
                "p": "P, decided",
                "q": "Q, published",
                "gap": ("P - Q", "short", steps((10_000, YELLOW), (100_000, RED))),
                "owner": "Owner",
                "epoch": "Claims",
                "claimed_at": "Claimed",
                "event_time": "Newest event",
                "events": "Events",
                "records": "Records",
                "skipped": "Skipped",
                "dead": "Dead letters",
            },
            h=12,
            runbook="publish-behind",
        ),
        table(
            "Claims without progress",
            "Partitions that were claimed by several workers in turn and not moved on by any, or that name an event which may have killed one. From the third such claim on a partition goes one event at a time.",
            sql(
                f"""
SELECT p.pipeline, p.topic, p.partition, p.idle_claims, p.suspect_offset, p.next_offset AS p, p.owner, p.claimed_at
FROM millrace.stream_partition p
WHERE {NEWEST} AND (p.idle_claims > 0 OR p.suspect_offset IS NOT NULL)
ORDER BY p.idle_claims DESC, p.pipeline, p.topic, p.partition"""
            ),
            columns={
                "pipeline": "Pipeline",
                "topic": "Topic",
                "partition": "Partition",
                "idle_claims": ("Claims without progress", "short", steps((3, RED))),
                "suspect_offset": "Suspect",
                "p": "P, decided",
                "owner": "Owner",
                "claimed_at": "Claimed",
            },
            w=16,
            h=8,
            runbook="worker-down",
        ),
        table(
            "Workers",
            "Who holds how many partitions, as the claims say. The last owner stays in the row after it has left.",
            sql(
                f"""
SELECT p.owner, p.pipeline, count(*) AS partitions, max(p.claimed_at) AS claimed_at
FROM millrace.stream_partition p
WHERE {NEWEST} AND p.owner IS NOT NULL
GROUP BY p.owner, p.pipeline
ORDER BY p.owner, p.pipeline"""
            ),
            columns={"owner": "Owner", "pipeline": "Pipeline", "partitions": "Partitions", "claimed_at": "Last claim"},
            w=8,
            h=8,
            runbook="rebalances",
        ),
    ]


def dead_letters():
    return [
        stat(
            "Open",
            "Dead letters of the time range that nobody has redriven or discarded.",
            sql(f"SELECT count(*) AS open FROM millrace.dead_letters WHERE {DECIDED} AND handling = 'open'"),
            thresholds=steps((1, YELLOW), (100, RED)),
            runbook="dead-letters",
        ),
        stat(
            "Cut off",
            "Redrives that were interrupted: their event may stand in the input topic already. `millrace dead-letters redrive --again` takes them up.",
            sql(f"SELECT count(*) AS redriving FROM millrace.dead_letters WHERE {DECIDED} AND handling = 'redriving'"),
            thresholds=steps((1, RED)),
            runbook="dead-letters",
        ),
        bars(
            "By reason",
            "The codes are those of `millrace dead-letters list --reason`.",
            sql(
                f"""
SELECT reason, count(*) AS "dead letters"
FROM millrace.dead_letters
WHERE {DECIDED}
GROUP BY reason
ORDER BY 2 DESC
LIMIT 20"""
            ),
            horizontal=True,
            w=16,
            h=8,
            runbook="dead-letters",
        ),
        table(
            "By reason and handling",
            "What was done about them: open, redriving, redriven, discarded.",
            sql(
                f"""
SELECT pipeline, reason, field, handling, count(*) AS letters, max(decided_at) AS newest
FROM millrace.dead_letters
WHERE {DECIDED}
GROUP BY pipeline, reason, field, handling
ORDER BY letters DESC
LIMIT 100"""
            ),
            columns={
                "pipeline": "Pipeline",
                "reason": "Reason",
                "field": "Field",
                "handling": "Handling",
                "letters": "Dead letters",
                "newest": "Newest",
            },
            w=12,
            runbook="dead-letters",
        ),
        table(
            "Newest that are open",
            "Their names, for `millrace dead-letters show NAME`. Payloads are not shown here.",
            sql(
                f"""
SELECT concat_ws('/', pipeline, run, topic, partition, "offset", n) AS name, reason, field, decided_at
FROM millrace.dead_letters
WHERE {DECIDED} AND handling = 'open'
ORDER BY decided_at DESC
LIMIT 50"""
            ),
            columns={"name": "Name", "reason": "Reason", "field": "Field", "decided_at": "Decided"},
            w=12,
            runbook="dead-letters",
        ),
    ]


def volume():
    return [
        table(
            "Rows",
            "Since the newest run began, as its partitions have counted. Over time: Millrace / Overview, Events out.",
            sql(
                f"""
SELECT p.pipeline, sum(p.events)::bigint AS events, sum(p.records)::bigint AS records, sum(p.skipped)::bigint AS skipped, sum(p.dead)::bigint AS dead
FROM millrace.stream_partition p
WHERE {NEWEST}
GROUP BY p.pipeline
ORDER BY p.pipeline"""
            ),
            columns={"pipeline": "Pipeline", "events": "Events", "records": "Records", "skipped": "Skipped", "dead": "Dead letters"},
            w=12,
            h=8,
        ),
        table(
            "Models and configs",
            "Who has decided what in the time range. Two configs of one pipeline are a rollout, or workers that do not agree.",
            sql(
                f"""
SELECT pipeline, function, model, left(config, 12) AS config, count(*) AS rows, min(decided_at) AS since, max(decided_at) AS until
FROM millrace.record
WHERE {DECIDED}
GROUP BY pipeline, function, model, config
ORDER BY pipeline, until DESC
LIMIT 100"""
            ),
            columns={
                "pipeline": "Pipeline",
                "function": "Function",
                "model": "Model",
                "config": "Config",
                "rows": "Rows",
                "since": "First",
                "until": "Last",
            },
            w=12,
            h=8,
            runbook="versions-mixed",
        ),
        table(
            "Tables",
            "Their size on disk with indexes, and rows as the planner estimates them.",
            sql(
                """
SELECT c.relname AS name, greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c
WHERE c.relnamespace = 'millrace'::regnamespace AND c.relkind = 'r'
ORDER BY bytes DESC"""
            ),
            columns={"name": "Table", "rows": "Rows", "bytes": ("Size", "bytes")},
            h=8,
        ),
    ]
