"""Postgres and Kafka as the workers see them: decide and publish."""

from kit import RED, SCRAPED, YELLOW, board, graph, heat, heatmap, prom, stat, steps

HELD = 'pipeline=~"$pipeline",instance=~"$instance"'


def quantiles(metric):
    bucket = f"sum by (le) (rate({metric}_bucket{{{HELD}}}[$__rate_interval]))"
    return [prom(f"histogram_quantile({q}, {bucket})", f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def retries(stage):
    return prom(f'sum by (pipeline) (rate(millrace_retries_total{{stage=~"{stage}",{HELD}}}[$__rate_interval]))', "{{pipeline}}")


def whole():
    return board(
        "millrace-stores",
        "Millrace / Postgres and Kafka",
        "How long deciding in Postgres and publishing to Kafka take, and how often they are tried again.",
        SCRAPED,
        [("Postgres", postgres()), ("Kafka", kafka()), ("Between the two", between())],
    )


def postgres():
    return [
        graph(
            "Decide",
            "One round: compare-and-set of the offsets and the inserts, until Postgres has committed.",
            quantiles("millrace_decide_duration_seconds"),
            "s",
            thresholds=steps((1, RED)),
            runbook="decide-slow",
        ),
        heatmap(
            "Decide, all of it",
            "A second band far above the first: a lock, a checkpoint, a full disk queue.",
            heat(f"sum by (le) (increase(millrace_decide_duration_seconds_bucket{{{HELD}}}[$__rate_interval]))"),
            "s",
            runbook="decide-slow",
        ),
        graph(
            "Writes that are tried again",
            "Decides, names of suspects, notes of swaps and of canaries that are taken back, without a clear answer. The row tells then what happened.",
            retries("decide|suspect|take|roll_back"),
            "ops",
            runbook="postgres-failing",
        ),
        graph(
            "Rounds",
            "Decides a second: a partition in a round counts once.",
            prom(f"sum by (pipeline) (rate(millrace_decide_duration_seconds_count{{{HELD}}}[$__rate_interval]))", "{{pipeline}}"),
            "ops",
            w=12,
        ),
        graph(
            "Claims that are tried again",
            "A claim asks Kafka first and Postgres then: either may be away.",
            retries("claim"),
            "ops",
            w=12,
            runbook="claiming",
        ),
    ]


def kafka():
    return [
        graph(
            "Publish",
            "One transaction: records, dead letters and offsets, until it is committed.",
            quantiles("millrace_publish_duration_seconds"),
            "s",
            thresholds=steps((5, RED)),
            runbook="publish-slow",
        ),
        heatmap(
            "Publish, all of it",
            "transaction.timeout.ms is 10 s: what comes near it is given up and tried again with a new producer.",
            heat(f"sum by (le) (increase(millrace_publish_duration_seconds_bucket{{{HELD}}}[$__rate_interval]))"),
            "s",
            runbook="publish-slow",
        ),
        graph(
            "Publishes that are tried again",
            "Aborted transactions and those without a clear answer. K is read then: all of a round is there, or nothing.",
            retries("publish"),
            "ops",
            runbook="kafka-failing",
        ),
        graph(
            "Transactions",
            "Publish rounds a second: one transaction each with exactly_once.",
            prom(f"sum by (pipeline) (rate(millrace_publish_duration_seconds_count{{{HELD}}}[$__rate_interval]))", "{{pipeline}}"),
            "ops",
            w=12,
        ),
        graph(
            "Rebalances",
            "Changes of the number of partitions that run on a worker, within ten minutes.",
            prom(
                f'sum by (pipeline) (changes(millrace_partitions{{state="running",{HELD}}}[10m]))',
                "{{pipeline}}",
            ),
            bars=True,
            w=12,
            runbook="rebalances",
        ),
    ]


def between():
    return [
        graph(
            "Decided and not published",
            "Rows that wait for Kafka. The next owner of a partition publishes what is left.",
            prom(f"sum by (pipeline) (millrace_lag_unpublished_events{{{HELD}}})", "{{pipeline}}"),
            w=12,
            runbook="publish-behind",
        ),
        graph(
            "The same in seconds of work",
            "Over the rate at which events come in.",
            prom(
                f"sum by (pipeline) (millrace_lag_unpublished_events{{{HELD}}})"
                f" / (sum by (pipeline) (rate(millrace_events_consumed_total{{{HELD}}}[5m])) > 0)",
                "{{pipeline}}",
            ),
            "s",
            thresholds=steps((10, YELLOW), (30, RED)),
            w=8,
            runbook="publish-behind",
        ),
        stat(
            "Unpublished now",
            "Events that wait for Kafka, all pipelines.",
            prom(f"sum(millrace_lag_unpublished_events{{{HELD}}})"),
            w=4,
            h=8,
            runbook="publish-behind",
        ),
    ]
