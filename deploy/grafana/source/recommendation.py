"""What the function `recommend` has put into people's lists."""

from kit import DECIDED, RED, YELLOW, bars, graph, sql, stat, steps, stored, table

# A record that says signals alone has no list.
LISTS = f"FROM millrace.recommendations\nWHERE {DECIDED} AND json_typeof(items) = 'array'"
SHOWN = (
    "FROM millrace.recommendations, LATERAL json_array_elements(CASE WHEN json_typeof(items) = 'array' THEN items ELSE '[]' END)"
    f" AS shown\nWHERE {DECIDED}"
)


def whole():
    return stored(
        "millrace-recommendation",
        "Millrace / Recommendation",
        "Lists, fallbacks and items of the function recommend, over the view millrace.recommendations.",
        [("Now", now()), ("Over time", over_time()), ("Items", items())],
    )


def now():
    return [
        stat("Lists", "Lists that were made in the time range, for requests and for clicks.", sql(f"SELECT count(*) AS lists\n{LISTS}"), w=6),
        stat(
            "Fallbacks",
            "Share of the lists that are not personal.",
            sql(f"SELECT (count(*) FILTER (WHERE fallback IS NOT NULL))::double precision / nullif(count(*), 0) AS fallback\n{LISTS}"),
            "percentunit",
            thresholds=steps((0.3, YELLOW), (0.6, RED)),
            w=6,
            runbook="fallbacks",
        ),
        stat(
            "Empty lists",
            "Share of the lists that have nothing in them.",
            sql(f"SELECT (count(*) FILTER (WHERE json_array_length(items) = 0))::double precision / nullif(count(*), 0) AS empty\n{LISTS}"),
            "percentunit",
            thresholds=steps((0.01, YELLOW), (0.1, RED)),
            w=6,
            runbook="fallbacks",
        ),
        stat("Users", "Who got a list in the time range.", sql(f"SELECT count(DISTINCT user_key) AS users\n{LISTS}"), w=6),
    ]


def over_time():
    return [
        graph(
            "Lists",
            "By label: personal, the reason of the fallback, cold.",
            sql(
                f"SELECT $__timeGroupAlias(decided_at, $__interval), coalesce(label, 'none') AS metric, count(*) AS value\n{LISTS}\nGROUP BY 1, 2\nORDER BY 1",
                series=True,
            ),
            bars=True,
            stack=True,
            w=12,
        ),
        graph(
            "Fallback share",
            "Many new users, or histories that are lost: look at state_bytes and at a new run.",
            sql(
                f"""
SELECT $__timeGroupAlias(decided_at, $__interval), (count(*) FILTER (WHERE fallback IS NOT NULL))::double precision / count(*) AS fallback
{LISTS}
GROUP BY 1
ORDER BY 1""",
                series=True,
            ),
            "percentunit",
            ceiling=1,
            w=12,
            runbook="fallbacks",
        ),
        graph(
            "List length",
            "Mean and shortest number of items in a list.",
            sql(
                f"""
SELECT $__timeGroupAlias(decided_at, $__interval), avg(json_array_length(items)) AS mean, min(json_array_length(items)) AS shortest
{LISTS}
GROUP BY 1
ORDER BY 1""",
                series=True,
            ),
            w=12,
        ),
        graph(
            "Score of the first item",
            "Mean score of the item that stands first.",
            sql(f"SELECT $__timeGroupAlias(decided_at, $__interval), avg(score) AS score\n{LISTS}\nGROUP BY 1\nORDER BY 1", series=True),
            floor=None,
            w=12,
            runbook="scores-shifted",
        ),
    ]


def items():
    return [
        table(
            "Top items",
            "How often an item stood in a list. One that stands in nearly all of them is a loop of popularity.",
            sql(
                f"""
SELECT shown ->> 'item' AS item, count(*) AS lists, count(DISTINCT user_key) AS users, avg((shown ->> 'score')::double precision) AS score
{SHOWN}
GROUP BY 1
ORDER BY 2 DESC
LIMIT 50"""
            ),
            columns={"item": "Item", "lists": "Lists", "users": "Users", "score": "Mean score"},
            w=12,
        ),
        bars(
            "Reasons",
            "Which signal has brought the items in.",
            sql(f"SELECT shown ->> 'reason' AS reason, count(*) AS items\n{SHOWN}\nGROUP BY 1\nORDER BY 2 DESC\nLIMIT 20"),
            horizontal=True,
            w=12,
            h=10,
        ),
        bars(
            "List lengths",
            "Lists by their number of items.",
            sql(f"SELECT lpad(json_array_length(items)::text, 3) AS items, count(*) AS lists\n{LISTS}\nGROUP BY 1\nORDER BY 1"),
            w=12,
        ),
        bars(
            "Fallbacks",
            "Why a list was not personal.",
            sql(f"SELECT fallback, count(*) AS lists\n{LISTS} AND fallback IS NOT NULL\nGROUP BY 1\nORDER BY 2 DESC\nLIMIT 20"),
            horizontal=True,
            w=12,
            runbook="fallbacks",
        ),
    ]
