"""What the function `sentiment` has read out of the messages."""

from kit import DECIDED, bars, graph, sql, stat, stored, table

READ = f"FROM millrace.sentiments\nWHERE {DECIDED}"


def whole():
    return stored(
        "millrace-sentiment",
        "Millrace / Sentiment",
        "Labels, scores and volume of the function sentiment, over the view millrace.sentiments.",
        [("Now", now()), ("Over time", over_time()), ("In detail", detail())],
    )


def now():
    return [
        stat("Messages", "Messages that were read in the time range.", sql(f"SELECT count(*) AS messages\n{READ}"), w=8),
        stat("Mean score", "How sure the model is of its labels, in the mean.", sql(f"SELECT avg(score) AS score\n{READ}"), "percentunit", w=8),
        stat(
            "Without a label",
            "Texts of which the model knows no token, such as emoji alone or another script.",
            sql(f"SELECT (count(*) FILTER (WHERE label IS NULL))::double precision / nullif(count(*), 0) AS unknown\n{READ}"),
            "percentunit",
            w=8,
            runbook="scores-shifted",
        ),
    ]


def over_time():
    return [
        graph(
            "Messages",
            "Messages by label; none is a text without a known word.",
            sql(
                f"SELECT $__timeGroupAlias(decided_at, $__interval), coalesce(label, 'none') AS metric, count(*) AS value\n{READ}\nGROUP BY 1, 2\nORDER BY 1",
                series=True,
            ),
            bars=True,
            stack=True,
            w=12,
        ),
        graph(
            "Share of each label",
            "What people say, whatever their number.",
            sql(
                f"""
SELECT time, label AS metric, messages::double precision / sum(messages) OVER (PARTITION BY time) AS value
FROM (SELECT $__timeGroupAlias(decided_at, $__interval), coalesce(label, 'none') AS label, count(*) AS messages
{READ}
GROUP BY 1, 2) counted
ORDER BY time""",
                series=True,
            ),
            "percentunit",
            ceiling=1,
            w=12,
            runbook="scores-shifted",
        ),
        graph(
            "Mean score",
            "By label: how sure the model is. A fall in all labels is a text unlike those that it was trained on.",
            sql(
                f"SELECT $__timeGroupAlias(decided_at, $__interval), coalesce(label, 'none') AS metric, avg(score) AS value\n{READ}\nGROUP BY 1, 2\nORDER BY 1",
                series=True,
            ),
            "percentunit",
            ceiling=1,
            w=24,
            runbook="scores-shifted",
        ),
    ]


def detail():
    return [
        bars(
            "Scores",
            "Messages by score, in steps of 0.05.",
            sql(
                f"""
SELECT to_char(least(floor(score * 20), 19) / 20, 'FM0.00') AS "score from", count(*) AS messages
{READ} AND score IS NOT NULL
GROUP BY 1
ORDER BY 1"""
            ),
            w=12,
        ),
        table(
            "Models",
            "What has read the messages of the time range.",
            sql(
                f"""
SELECT pipeline, model, count(*) AS messages, avg(score) AS score, min(decided_at) AS since, max(decided_at) AS until
{READ}
GROUP BY pipeline, model
ORDER BY until DESC
LIMIT 50"""
            ),
            columns={
                "pipeline": "Pipeline",
                "model": "Model",
                "messages": "Messages",
                "score": ("Mean score", "percentunit"),
                "since": "First",
                "until": "Last",
            },
            w=12,
            h=8,
            runbook="versions-mixed",
        ),
        table(
            "Least sure",
            "Messages to look at first when labels are checked by hand: their ids, never their text.",
            sql(
                f"""
SELECT id, label, score, event_time, decided_at
{READ} AND score IS NOT NULL
ORDER BY score, decided_at DESC
LIMIT 50"""
            ),
            columns={"id": "Message", "label": "Label", "score": ("Score", "percentunit"), "event_time": "Event time", "decided_at": "Decided"},
        ),
    ]
