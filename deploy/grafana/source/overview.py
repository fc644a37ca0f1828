"""What somebody looks at first: is it running, does it keep up, does it fail."""

from kit import RED, SCRAPED, YELLOW, board, falling, graph, prom, stat, steps, table

HELD = 'pipeline=~"$pipeline",instance=~"$instance"'
AGE = "sum by (le) (rate(millrace_event_age_seconds_bucket{%s}[$__rate_interval]))" % HELD


def age(quantile):
    return prom(f"histogram_quantile({quantile}, {AGE})", f"p{round(quantile * 100)}")


def now():
    return [
        stat(
            "Workers up",
            "Workers that Prometheus can scrape. Job `millrace` in the scrape config.",
            prom('sum(up{job="millrace",instance=~"$instance"})'),
            thresholds=falling((1, "green")),
            runbook="worker-down",
        ),
        stat(
            "Partitions halted",
            "Partitions that stand still because going on would lose or double something. The log and /status say why.",
            prom('sum(millrace_partitions{state="halted",%s})' % HELD),
            thresholds=steps((1, RED)),
            runbook="partition-halted",
        ),
        stat(
            "Lag",
            "Age of the oldest event that is not decided yet, over all partitions that are held. 0 when all are caught up.",
            prom("max(millrace_lag_seconds{%s})" % HELD),
            "s",
            thresholds=steps((60, YELLOW), (300, RED)),
            runbook="lagging",
        ),
        stat(
            "Work ahead",
            "How long the backlog takes at the present speed of the models.",
            prom("max(millrace_lag_work_seconds{%s})" % HELD),
            "s",
            thresholds=steps((300, YELLOW), (1800, RED)),
            runbook="saturated",
        ),
        stat(
            "Event age, p99",
            "From the timestamp of a record in the log to its committed row: of each round the oldest event.",
            prom(f"histogram_quantile(0.99, {AGE})"),
            "s",
            thresholds=steps((5, YELLOW), (10, RED)),
            runbook="event-age",
        ),
        stat(
            "Dead letters",
            "Share of the events that end as dead letters.",
            prom(dead_share()),
            "percentunit",
            thresholds=steps((0.01, YELLOW), (0.05, RED)),
            runbook="dead-letters",
        ),
    ]


def dead_share():
    rate = "sum(rate(%s{%s}[$__rate_interval]))"
    dead = rate % ("millrace_dead_letters_total", HELD)
    others = [rate % (name, HELD) for name in ("millrace_predictions_total", "millrace_events_skipped_total")]
    # A counter that has not counted yet is not there. Where nothing ended there is no share.
    endings = " + ".join(f"({one} or vector(0))" for one in [*others, dead])
    return f"({dead} or vector(0)) / (({endings}) > 0)"


def flow():
    return [
        graph(
            "Events in",
            "Records read from Kafka. After a claim some are read again.",
            prom("sum by (pipeline) (rate(millrace_events_consumed_total{%s}[$__rate_interval]))" % HELD, "{{pipeline}}"),
            "ops",
            w=12,
        ),
        graph(
            "Events out",
            "What became of them, as committed in Postgres: predictions, dead letters, skipped.",
            [
                prom("sum(rate(millrace_predictions_total{%s}[$__rate_interval])) or vector(0)" % HELD, "predictions"),
                prom("sum(rate(millrace_dead_letters_total{%s}[$__rate_interval])) or vector(0)" % HELD, "dead letters"),
                prom("sum(rate(millrace_events_skipped_total{%s}[$__rate_interval])) or vector(0)" % HELD, "skipped"),
            ],
            "ops",
            stack=True,
            w=12,
        ),
        graph(
            "Event age",
            "From the record's timestamp to the committed row. One sample a round and partition, its oldest event: no event of the round is older.",
            [age(0.5), age(0.95), age(0.99)],
            "s",
            thresholds=steps((10, RED)),
            runbook="event-age",
        ),
        graph(
            "Lag in seconds",
            "Age of the oldest event that is not decided, by pipeline: the worst partition.",
            prom("max by (pipeline) (millrace_lag_seconds{%s})" % HELD, "{{pipeline}}"),
            "s",
            thresholds=steps((300, RED)),
            runbook="lagging",
        ),
        graph(
            "Lag in events",
            "Undecided: in the log and not in Postgres. Unpublished: in Postgres and not in the output topic.",
            [
                prom("sum by (pipeline) (millrace_lag_undecided_events{%s})" % HELD, "{{pipeline}} undecided"),
                prom("sum by (pipeline) (millrace_lag_unpublished_events{%s})" % HELD, "{{pipeline}} unpublished"),
            ],
            runbook="publish-behind",
        ),
    ]


def wrong():
    return [
        graph(
            "Dead letters by reason",
            "The codes are those of `millrace dead-letters list`.",
            prom("sum by (reason) (rate(millrace_dead_letters_total{%s}[$__rate_interval]))" % HELD, "{{reason}}"),
            "ops",
            stack=True,
            runbook="dead-letters",
        ),
        graph(
            "Retries by stage",
            "decide, suspect, take, roll_back: Postgres. publish: Kafka. claim: either. call: the function. version: a version that does not load. Some after a rebalance are normal, a steady rate is not.",
            prom("sum by (stage) (rate(millrace_retries_total{%s}[$__rate_interval]))" % HELD, "{{stage}}"),
            "ops",
            stack=True,
            runbook="postgres-failing",
        ),
        graph(
            "Halts",
            "Partitions that were halted within five minutes.",
            prom("sum by (pipeline, reason) (increase(millrace_halts_total{%s}[5m]))" % HELD, "{{pipeline}} {{reason}}"),
            bars=True,
            runbook="partition-halted",
        ),
        graph(
            "Error budget of the event age",
            "How fast the budget of the objective (99 % of the rounds within 10 s) is spent; 1 spends it in 30 days. Recording rules of deploy/prometheus/rules.yaml.",
            [
                prom('max by (pipeline) (namespace_pipeline:millrace_event_age_late:ratio_rate1h{pipeline=~"$pipeline"}) / 0.01', "{{pipeline}}, 1 h"),
                prom('max by (pipeline) (namespace_pipeline:millrace_event_age_late:ratio_rate6h{pipeline=~"$pipeline"}) / 0.01', "{{pipeline}}, 6 h"),
            ],
            thresholds=steps((6, YELLOW), (14.4, RED)),
            runbook="event-age",
        ),
        graph(
            "Answers by a fallback",
            "Predictions that a fallback made, by reason: a model that could not score, a new user.",
            prom("sum by (pipeline, reason) (rate(millrace_fallbacks_total{%s}[$__rate_interval]))" % HELD, "{{pipeline}} {{reason}}"),
            "ops",
            stack=True,
            runbook="fallbacks",
        ),
        graph(
            "Skew of event time",
            "Of aligned pipelines: how far the partition furthest ahead is ahead of the slowest one.",
            prom("max by (pipeline) (millrace_event_time_skew_seconds{%s})" % HELD, "{{pipeline}}"),
            "s",
            runbook="skew",
        ),
    ]


def workers():
    return [
        graph(
            "Partitions by state",
            "claiming lasts a moment after each rebalance; halted wants somebody.",
            prom("sum by (state) (millrace_partitions{%s})" % HELD, "{{state}}"),
            stack=True,
            runbook="claiming",
        ),
        graph(
            "Partitions by worker",
            "What the group has given to each worker. Steps are rebalances.",
            prom("sum by (instance) (millrace_partitions{%s})" % HELD, "{{instance}}"),
            stack=True,
            runbook="rebalances",
        ),
        graph(
            "Ready, and neighbours that answer",
            "1: /readyz is 200; Kafka or Postgres answers the worker. 0: it does not, /readyz says why.",
            [
                prom('min by (instance) (millrace_ready{instance=~"$instance"})', "{{instance}}"),
                prom("min by (neighbour) (millrace_neighbour_up{%s})" % HELD, "{{neighbour}}"),
            ],
            ceiling=1,
            runbook="neighbour-away",
        ),
        graph(
            "Starts",
            "Within an hour, of each worker: more than the upgrades that you made are deaths.",
            prom('sum by (instance) (changes(millrace_start_time_seconds{instance=~"$instance"}[1h]))', "{{instance}}"),
            runbook="worker-down",
        ),
        graph(
            "Memory budget in use",
            "Events and records in hand, all pipelines of a worker, as a share of [memory] budget_bytes. At 1 the source waits.",
            prom(
                'max by (instance) (millrace_budget_used_bytes{instance=~"$instance"}) / max by (instance) (millrace_budget_limit_bytes{instance=~"$instance"})',
                "{{instance}}",
            ),
            "percentunit",
            thresholds=steps((0.9, YELLOW)),
            runbook="budget-full",
        ),
        table(
            "Versions",
            "The program that each worker runs.",
            prom('max by (instance, version, revision) (millrace_build_info{instance=~"$instance"})', instant=True),
            columns={"instance": "Worker", "version": "Version", "revision": "Revision"},
            hide=("Time", "Value"),
            w=12,
            h=7,
            runbook="versions-mixed",
        ),
        table(
            "Paused by somebody",
            "Partitions of a pipeline that an operator has paused.",
            prom("sum by (pipeline) (millrace_paused_partitions{%s}) > 0" % HELD, instant=True),
            columns={"pipeline": "Pipeline", "Value": "Partitions"},
            hide=("Time",),
            w=12,
            h=7,
            runbook="paused-long",
        ),
        table(
            "Versions of settings",
            "Partitions by the version that scores them, of pipelines that were swapped; a canary has a share of the keys.",
            prom("sum by (pipeline, version, canary) (millrace_swap_partitions{%s})" % HELD, instant=True),
            columns={"pipeline": "Pipeline", "version": "Version", "canary": "Canary", "Value": "Partitions"},
            hide=("Time",),
            w=8,
            h=7,
            runbook="swap-waits",
        ),
        graph(
            "Partitions that wait for a version",
            "It is being loaded, or cannot be used: /status says why.",
            prom("sum by (pipeline) (millrace_swap_waiting_partitions{%s})" % HELD, "{{pipeline}}"),
            w=8,
            runbook="swap-waits",
        ),
        graph(
            "Canaries taken back",
            "By themselves, within an hour: a version did worse than the one beside it. millrace.operation says why.",
            prom("sum by (pipeline) (increase(millrace_canaries_taken_back_total{%s}[1h]))" % HELD, "{{pipeline}}"),
            w=8,
            runbook="canary-taken-back",
        ),
        graph(
            "Dead letters by version",
            "A second, of pipelines that were swapped; beside all events of the version.",
            prom(
                'sum by (pipeline, version) (rate(millrace_swap_events_total{%s,ending="dead"}[$__rate_interval]))'
                " / sum by (pipeline, version) (rate(millrace_swap_events_total{%s}[$__rate_interval]))" % (HELD, HELD),
                "{{pipeline}} {{version}}",
            ),
            unit="percentunit",
            w=8,
            runbook="swap-waits",
        ),
    ]


def whole():
    return board(
        "millrace-overview",
        "Millrace / Overview",
        "Rate, age, lag, failures and workers of all pipelines. Start here.",
        SCRAPED,
        [("Now", now()), ("Flow", flow()), ("What goes wrong", wrong()), ("Workers", workers())],
    )
