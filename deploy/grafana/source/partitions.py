"""Every partition: who holds it, how far it is, which one stands still."""

from kit import RED, SCRAPED, YELLOW, board, graph, prom, states, steps, table

HELD = 'pipeline=~"$pipeline",instance=~"$instance"'
PARTITION = "pipeline, topic, partition"
NAME = "{{topic}}/{{partition}}"


def whole():
    return board(
        "millrace-partitions",
        "Millrace / Partitions",
        "Lag of each partition that is held now, in events and seconds. What nobody holds is not here: see Millrace / Decisions.",
        SCRAPED,
        [("Heat", heat()), ("Each", each()), ("Balance", balance())],
    )


def heat():
    return [
        states(
            "Lag in seconds",
            "One row a partition. A row that turns red alone is a partition that stands still; all of them together are a worker, a model or a database that is slow.",
            prom(f"max by ({PARTITION}) (millrace_lag_seconds{{{HELD}}})", NAME),
            "s",
            steps((10, "light-green"), (60, YELLOW), (300, "orange"), (1800, RED)),
            w=24,
            h=14,
            runbook="partition-stuck",
        ),
    ]


def each():
    query = "max by (pipeline, topic, partition, instance) (%s{" + HELD + "})"
    return [
        table(
            "Partitions",
            "P is decided, K is published: the offsets themselves are in /status and in Millrace / Decisions.",
            [
                prom(query % "millrace_lag_seconds", instant=True),
                prom(query % "millrace_lag_undecided_events", instant=True),
                prom(query % "millrace_lag_unpublished_events", instant=True),
            ],
            columns={
                "pipeline": "Pipeline",
                "topic": "Topic",
                "partition": "Partition",
                "instance": "Worker",
                "Value #A": ("Lag", "s", steps((60, YELLOW), (300, RED))),
                "Value #B": "Undecided events",
                "Value #C": "Unpublished events",
            },
            hide=("Time",),
            merge=True,
            h=12,
            runbook="lagging",
        ),
    ]


def balance():
    return [
        graph(
            "The ten furthest behind",
            "In events that are not decided.",
            prom(f"topk(10, max by ({PARTITION}) (millrace_lag_undecided_events{{{HELD}}}))", NAME),
            w=12,
            runbook="lagging",
        ),
        graph(
            "The ten with most to publish",
            "Decided in Postgres and not in the output topic yet.",
            prom(f"topk(10, max by ({PARTITION}) (millrace_lag_unpublished_events{{{HELD}}}))", NAME),
            w=12,
            runbook="publish-behind",
        ),
        graph(
            "Hot partition",
            "Lag of the worst partition over the mean of its pipeline: 1 is even, a high number is one key or one partition that gets more than its share.",
            prom(
                f"max by (pipeline) (millrace_lag_undecided_events{{{HELD}}})"
                f" / (avg by (pipeline) (millrace_lag_undecided_events{{{HELD}}}) > 0)",
                "{{pipeline}}",
            ),
            w=12,
            runbook="lagging",
        ),
        graph(
            "Partitions that are held",
            "A number that falls and stays low: partitions that no worker has.",
            prom(f"sum by (pipeline) (millrace_partitions{{{HELD}}})", "{{pipeline}}"),
            w=12,
            runbook="partitions-missing",
        ),
        graph(
            "Room before retention",
            "The ten with the least: events that Kafka has yet to drop before it reaches what is not decided. At 0 events are lost, and the partition halts.",
            prom(f"bottomk(10, min by ({PARTITION}) (millrace_log_headroom_events{{{HELD}}}))", NAME),
            w=12,
            runbook="retention-near",
        ),
        graph(
            "Paused and halted",
            "Partitions that stand because somebody paused them, or for safety.",
            prom(f"sum by (pipeline, why) (millrace_partition_stopped{{{HELD}}})", "{{pipeline}} {{why}}"),
            w=12,
            runbook="partition-halted",
        ),
        graph(
            "States in memory",
            "States of keys, of pipelines that remember, by worker. What is beyond state_bytes is let go and read again when it is needed; the worker's resident memory is about twice that.",
            prom(f"sum by (pipeline, instance) (millrace_state_bytes{{{HELD}}})", "{{pipeline}} {{instance}}"),
            "bytes",
            w=12,
            runbook="workers-absent",
        ),
    ]
