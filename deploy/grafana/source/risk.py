"""What the function `risk` has decided, for those who answer for it."""

from kit import DECIDED, RED, YELLOW, bars, graph, sql, stat, steps, stored, table

SCORES = f"FROM millrace.risk_scores\nWHERE {DECIDED}"


def share(what, name):
    return sql(f"SELECT (count(*) FILTER (WHERE {what}))::double precision / nullif(count(*), 0) AS {name}\n{SCORES}")


def whole():
    return stored(
        "millrace-risk",
        "Millrace / Risk",
        "Scores, decisions and reasons of the function risk, over the view millrace.risk_scores.",
        [("Now", now()), ("Scores and decisions", scores()), ("Why", why())],
    )


def now():
    return [
        stat("Scored", "Events that were decided on in the time range.", sql(f"SELECT count(*) AS scored\n{SCORES}"), w=6),
        stat(
            "Degraded",
            "Share that the model could not score: the policy's fallback has decided.",
            share("status = 'degraded'", "degraded"),
            "percentunit",
            thresholds=steps((0.001, YELLOW), (0.01, RED)),
            w=6,
            runbook="fallbacks",
        ),
        stat(
            "Late",
            "Share that came after newer events of the same key.",
            share("status = 'late'", "late"),
            "percentunit",
            thresholds=steps((0.05, YELLOW)),
            w=6,
            runbook="skew",
        ),
        stat("Highest score", "Of the time range; 0 to 1000.", sql(f"SELECT max(score) AS score\n{SCORES}"), w=6),
    ]


def scores():
    return [
        graph(
            "Decisions",
            "Events by decision, as the policy has it.",
            sql(f"SELECT $__timeGroupAlias(decided_at, $__interval), decision AS metric, count(*) AS value\n{SCORES}\nGROUP BY 1, 2\nORDER BY 1", series=True),
            bars=True,
            stack=True,
            w=12,
        ),
        graph(
            "Share of each decision",
            "A share that moves without a new model or policy is an input that has changed.",
            sql(
                f"""
SELECT time, decision AS metric, events::double precision / sum(events) OVER (PARTITION BY time) AS value
FROM (SELECT $__timeGroupAlias(decided_at, $__interval), decision, count(*) AS events
{SCORES}
GROUP BY 1, 2) counted
ORDER BY time""",
                series=True,
            ),
            "percentunit",
            ceiling=1,
            w=12,
            runbook="scores-shifted",
        ),
        bars(
            "Scores",
            "Events by score, in steps of 50. Degraded ones have no score.",
            sql(
                f"""
SELECT lpad((least(score / 50, 19) * 50)::text, 3, '0') AS "score from", count(*) AS events
{SCORES} AND score IS NOT NULL
GROUP BY 1
ORDER BY 1"""
            ),
            w=12,
            runbook="scores-shifted",
        ),
        graph(
            "Scores over time",
            "Median, 90th and 99th percentile.",
            sql(
                f"""
SELECT $__timeGroupAlias(decided_at, $__interval),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY score) AS p50,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY score) AS p90,
       percentile_cont(0.99) WITHIN GROUP (ORDER BY score) AS p99
{SCORES} AND score IS NOT NULL
GROUP BY 1
ORDER BY 1""",
                series=True,
            ),
            ceiling=1000,
            w=12,
            runbook="scores-shifted",
        ),
        graph(
            "Degraded and late",
            "Share of each status but ok.",
            sql(
                f"""
SELECT $__timeGroupAlias(decided_at, $__interval),
       (count(*) FILTER (WHERE status = 'degraded'))::double precision / count(*) AS degraded,
       (count(*) FILTER (WHERE status = 'late'))::double precision / count(*) AS late
{SCORES}
GROUP BY 1
ORDER BY 1""",
                series=True,
            ),
            "percentunit",
            w=12,
            runbook="fallbacks",
        ),
        graph(
            "Who decided",
            "Events by the source of the decision: model, rules, lists, fallback.",
            sql(
                f"SELECT $__timeGroupAlias(decided_at, $__interval), decision_source AS metric, count(*) AS value\n{SCORES}\nGROUP BY 1, 2\nORDER BY 1",
                series=True,
            ),
            bars=True,
            stack=True,
            w=12,
            runbook="fallbacks",
        ),
    ]


def why():
    return [
        bars(
            "Reasons",
            "How often each reason was given, for events that were explained.",
            sql(
                f"""
SELECT reason ->> 'code' AS reason, count(*) AS events
FROM millrace.risk_scores,
     LATERAL json_array_elements(CASE WHEN json_typeof(reasons) = 'array' THEN reasons ELSE '[]' END) AS reason
WHERE {DECIDED}
GROUP BY 1
ORDER BY 2 DESC
LIMIT 20"""
            ),
            horizontal=True,
            w=12,
            h=10,
        ),
        table(
            "Highest scores",
            "Events, not accounts. `millrace explain --pipeline NAME --event ID` shows the features behind one.",
            sql(
                f"""
SELECT coalesce(event_id, id) AS event, score, probability, decision, status, event_time, decided_at
{SCORES} AND score IS NOT NULL
ORDER BY score DESC, decided_at DESC
LIMIT 50"""
            ),
            columns={
                "event": "Event",
                "score": ("Score", "short", steps((300, YELLOW), (700, RED))),
                "probability": ("Probability", "percentunit"),
                "decision": "Decision",
                "status": "Status",
                "event_time": "Event time",
                "decided_at": "Decided",
            },
            w=12,
        ),
        table(
            "Models and policies",
            "What has scored in the time range.",
            sql(
                f"""
SELECT pipeline, model, policy, count(*) AS events, avg(probability) AS probability, min(decided_at) AS since, max(decided_at) AS until
{SCORES}
GROUP BY pipeline, model, policy
ORDER BY until DESC
LIMIT 50"""
            ),
            columns={
                "pipeline": "Pipeline",
                "model": "Model",
                "policy": "Policy",
                "events": "Events",
                "probability": ("Mean probability", "percentunit"),
                "since": "First",
                "until": "Last",
            },
            h=8,
            runbook="versions-mixed",
        ),
    ]
