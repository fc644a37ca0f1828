"""The functions and their models: how fast, how full, how busy, and what they answer."""

from kit import GREEN, RED, SCRAPED, YELLOW, board, falling, graph, heat, heatmap, prom, stat, steps, table

HELD = 'pipeline=~"$pipeline",instance=~"$instance"'
HERE = 'instance=~"$instance"'


def quantile(q, metric):
    return prom(
        f"histogram_quantile({q}, sum by (le, pipeline) (rate({metric}_bucket{{{HELD}}}[$__rate_interval])))",
        "{{pipeline}} p%d" % round(q * 100),
    )


def whole():
    return board(
        "millrace-model",
        "Millrace / Models",
        "Latency and fill of calls, busy share, tokens, caches, memory, and how scores and labels are spread.",
        SCRAPED,
        [("Calls", calls()), ("Answers", answers()), ("Shadow and ladder", beside()), ("Memory and caches", memory())],
    )


def calls():
    return [
        graph(
            "Call latency",
            "One call of the function with a slice of events. A call that outlasts call_timeout_ms ends the worker.",
            [quantile(0.5, "millrace_call_duration_seconds"), quantile(0.99, "millrace_call_duration_seconds")],
            "s",
            thresholds=steps((10, RED)),
            runbook="call-slow",
        ),
        heatmap(
            "Call latency, all of it",
            "Two bands are two kinds of work: short and long texts, or a model that is loaded again.",
            heat(f"sum by (le) (increase(millrace_call_duration_seconds_bucket{{{HELD}}}[$__rate_interval]))"),
            "s",
            runbook="call-slow",
        ),
        heatmap(
            "Events a call",
            "How full the slices are. Full while behind, small while idle.",
            heat(f"sum by (le) (increase(millrace_slice_events_bucket{{{HELD}}}[$__rate_interval]))"),
            "short",
        ),
        graph(
            "Slice fill",
            "Mean events a call over the largest slice that the function takes. Near 1 with lag: the model is the bound.",
            prom(
                f"sum by (pipeline) (rate(millrace_slice_events_sum{{{HELD}}}[$__rate_interval]))"
                f" / sum by (pipeline) (rate(millrace_slice_events_count{{{HELD}}}[$__rate_interval]))"
                f" / on (pipeline) max by (pipeline) (millrace_slice_limit_events{{{HELD}}})",
                "{{pipeline}}",
            ),
            "percentunit",
            ceiling=1,
            runbook="saturated",
        ),
        graph(
            "Busy share",
            "Time in which the function was at work, by worker. 1 is a worker that does nothing else.",
            prom(f"sum by (pipeline, instance) (rate(millrace_busy_seconds_total{{{HELD}}}[$__rate_interval]))", "{{pipeline}} {{instance}}"),
            "percentunit",
            thresholds=steps((0.95, RED)),
            runbook="saturated",
        ),
        graph(
            "Tokens",
            "Tokens that were computed, and those that were padding.",
            [
                prom(f"sum by (pipeline) (rate(millrace_tokens_total{{{HELD}}}[$__rate_interval]))", "{{pipeline}}"),
                prom(f"sum by (pipeline) (rate(millrace_padding_tokens_total{{{HELD}}}[$__rate_interval]))", "{{pipeline}}, padding"),
            ],
            "ops",
            runbook="call-slow",
        ),
    ]


def answers():
    return [
        heatmap(
            "Scores",
            "How the scores are spread over time. A band that moves without a new model is an input that has changed.",
            heat(f"sum by (le) (increase(millrace_scores_bucket{{{HELD}}}[$__rate_interval]))"),
            "short",
            runbook="scores-shifted",
        ),
        graph(
            "Mean score, and the same a week ago",
            "A gap that stays is a shift of the input or of the model.",
            [
                prom(mean_score(""), "{{pipeline}}"),
                prom(mean_score(" offset 1w"), "{{pipeline}}, a week ago"),
            ],
            "short",
            floor=None,
            runbook="scores-shifted",
        ),
        graph(
            "Label shares",
            "Share of each label among the predictions that have one.",
            prom(
                f"sum by (pipeline, label) (rate(millrace_labels_total{{{HELD}}}[$__rate_interval]))"
                f" / on (pipeline) group_left () sum by (pipeline) (rate(millrace_labels_total{{{HELD}}}[$__rate_interval]))",
                "{{pipeline}} {{label}}",
            ),
            "percentunit",
            stack=True,
            runbook="scores-shifted",
        ),
        graph(
            "Fallback share",
            "Share of the predictions that a fallback made.",
            prom(
                f"sum by (pipeline) (rate(millrace_fallbacks_total{{{HELD}}}[$__rate_interval]))"
                f" / sum by (pipeline) (rate(millrace_predictions_total{{{HELD}}}[$__rate_interval]))",
                "{{pipeline}}",
            ),
            "percentunit",
            thresholds=steps((0.2, RED)),
            runbook="fallbacks",
        ),
        graph(
            "Calls that are tried again",
            "The failure may pass: the same slice is called again, with a wait that grows. The log says why.",
            prom(
                f'sum by (pipeline) (rate(millrace_retries_total{{stage="call",{HELD}}}[$__rate_interval]))',
                "{{pipeline}}",
            ),
            "ops",
            runbook="calls-failing",
        ),
        table(
            "Models",
            "Digest of the weights, which stands in every prediction. Two digests of one name are a rollout that is under way.",
            prom(f"count by (model, digest) (millrace_model_info{{{HERE}}})", instant=True),
            columns={"model": "Model", "digest": "Digest", "Value": "Workers"},
            hide=("Time",),
            w=8,
            h=8,
            runbook="versions-mixed",
        ),
    ]


def beside():
    return [
        graph(
            "Agreement of the shadow",
            "Share of the compared events of which champion and challenger say the same. Needs [pipeline.shadow].",
            prom(
                f'sum by (pipeline) (rate(millrace_shadow_events_total{{outcome="agreed",{HELD}}}[$__rate_interval]))'
                f' / sum by (pipeline) (rate(millrace_shadow_events_total{{outcome=~"agreed|flipped",{HELD}}}[$__rate_interval]))',
                "{{pipeline}}",
            ),
            "percentunit",
            ceiling=1,
            runbook="shadow-down",
        ),
        graph(
            "Events for the shadow",
            "What became of those that were chosen. Dropped: there was no spare time, and its queue was full.",
            prom(f"sum by (pipeline, outcome) (rate(millrace_shadow_events_total{{{HELD}}}[$__rate_interval]))", "{{pipeline}} {{outcome}}"),
            "ops",
            stack=True,
            runbook="shadow-down",
        ),
        graph(
            "Flips",
            "What the champion says, and what the challenger says instead, since the workers started.",
            prom(f"sum by (pipeline, champion, challenger) (millrace_shadow_flips_total{{{HELD}}})", "{{pipeline}} {{champion}} to {{challenger}}"),
            bars=True,
        ),
        graph(
            "Score shift of the shadow",
            "Mean of the challenger's score less the champion's, by worker, and the stability index of both spreads: above 0.25 they lie far apart.",
            [
                prom(f"max by (pipeline, instance) (millrace_shadow_score_shift{{{HELD}}})", "{{pipeline}} {{instance}} mean"),
                prom(f"max by (pipeline, instance) (millrace_shadow_score_psi{{{HELD}}})", "{{pipeline}} {{instance}} PSI"),
            ],
            floor=None,
        ),
        stat(
            "Shadows that run",
            "1 on each worker whose challenger is loaded and called.",
            prom(f"min by (pipeline) (millrace_shadow_up{{{HELD}}})", "{{pipeline}}"),
            thresholds=falling((1, GREEN)),
            w=4,
            h=8,
            runbook="shadow-down",
        ),
        graph(
            "Rung in force",
            "0 gives up nothing. Needs [pipeline.ladder].",
            prom(f"max by (pipeline) (millrace_rung{{{HELD}}})", "{{pipeline}}"),
            thresholds=steps((1, YELLOW)),
            runbook="degraded",
        ),
        graph(
            "Events by rung",
            "Which rung has ended them: scored, or skipped on one that skips.",
            prom(f"sum by (pipeline, rung) (rate(millrace_rung_events_total{{{HELD}}}[$__rate_interval]))", "{{pipeline}} {{rung}}"),
            "ops",
            stack=True,
            runbook="degraded",
        ),
    ]


def memory():
    return [
        graph(
            "Networks in memory",
            "Bytes of each network that is loaded.",
            prom(f"sum by (model) (millrace_model_loaded_bytes{{{HERE}}})", "{{model}}"),
            "bytes",
            stack=True,
            runbook="models-thrash",
        ),
        graph(
            "Unloads",
            "How often a network had to go for another within five minutes. More than a few: [models] memory_budget_mb is too small.",
            prom(f"sum by (model) (increase(millrace_model_unloads_total{{{HERE}}}[5m]))", "{{model}}"),
            bars=True,
            runbook="models-thrash",
        ),
        graph(
            "Cache hits",
            "Share of the encoders' answers that were kept and not computed.",
            prom(
                f"sum by (instance) (rate(millrace_result_cache_hits_total{{{HERE}}}[$__rate_interval]))"
                f" / (sum by (instance) (rate(millrace_result_cache_hits_total{{{HERE}}}[$__rate_interval]))"
                f" + sum by (instance) (rate(millrace_result_cache_misses_total{{{HERE}}}[$__rate_interval])))",
                "{{instance}}",
            ),
            "percentunit",
            ceiling=1,
        ),
        stat(
            "Cache",
            "Memory of the answers that are kept.",
            prom(f"sum(millrace_result_cache_bytes{{{HERE}}})"),
            "bytes",
            w=8,
            h=5,
        ),
        stat(
            "Unloads in a day",
            "All networks of all workers.",
            prom(f"sum(increase(millrace_model_unloads_total{{{HERE}}}[1d]))"),
            thresholds=steps((50, YELLOW)),
            w=8,
            h=5,
            runbook="models-thrash",
        ),
    ]


def mean_score(offset):
    rate = f"sum by (pipeline) (rate(millrace_scores_%s{{{HELD}}}[30m]{offset}))"
    return f"{rate % 'sum'} / {rate % 'count'}"
