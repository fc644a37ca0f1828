//! Series under their names.

use super::*;
use crate::telemetry::{RungTally, ShadowState, ShadowTally, tally::Limits};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Would catch: a partition that has moved away and is told of for ever, a halted one that is not counted.
#[test]
fn only_what_is_held_now_is_told() {
    let (metrics, moved) = (Metrics::new().unwrap(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let held = moved.clone();
    metrics.follow_partitions(Arc::new(move || {
        let one = |partition, state: &str| PartitionGauges {
            topic: "in".into(),
            partition,
            state: state.into(),
            paused: partition == 1,
            version: None,
            waits_for: false,
            undecided: Some(7),
            unpublished: None,
            behind_seconds: Some(3.5),
            headroom: Some(60),
            state_bytes: (partition == 0).then_some(4_096),
        };
        let first = (!held.load(std::sync::atomic::Ordering::Relaxed)).then(|| one(0, "running"));
        [("p".to_owned(), first.into_iter().chain([one(1, "halted")]).collect())].into()
    }));
    let of = |partition| format!("millrace_lag_undecided_events{{partition=\"{partition}\",pipeline=\"p\",topic=\"in\"}} 7");
    let text = metrics.render().unwrap();
    assert!(text.contains(&of(0)) && text.contains(&of(1)), "{text}");
    assert!(text.contains("millrace_partitions{pipeline=\"p\",state=\"halted\"} 1"), "{text}");
    assert!(text.contains("millrace_paused_partitions{pipeline=\"p\"} 1"), "{text}");
    assert!(text.contains("millrace_lag_seconds{partition=\"1\",pipeline=\"p\",topic=\"in\"} 3.5"), "{text}");
    let headroom = "millrace_log_headroom_events{partition=\"1\",pipeline=\"p\",topic=\"in\"} 60\n";
    assert!(text.contains(headroom), "{text}");
    let stopped = "millrace_partition_stopped{partition=\"1\",pipeline=\"p\",topic=\"in\",why=\"halted\"} 1\n";
    assert!(
        text.contains(stopped) && text.matches("\nmillrace_partition_stopped{").count() == 1,
        "what runs is not stopped: {text}"
    );
    let states = "millrace_state_bytes{partition=\"0\",pipeline=\"p\",topic=\"in\"} 4096";
    assert!(text.contains(states) && text.matches("\nmillrace_state_bytes{").count() == 1, "{text}");
    moved.store(true, std::sync::atomic::Ordering::Relaxed);
    let text = metrics.render().unwrap();
    assert!(!text.contains(&of(0)) && text.contains(&of(1)), "{text}");
    assert!(text.contains("millrace_partitions{pipeline=\"p\",state=\"running\"} 0"), "{text}");
    assert!(!text.contains("unpublished"), "{text}");
}

#[test]
fn models_are_looked_at_when_somebody_reads() {
    let metrics = Metrics::new().unwrap();
    metrics.follow_models(Arc::new(|| ModelGauges {
        cache_hits: 3,
        cache_misses: 2,
        cache_bytes: 1000,
        open: vec!["m@abc".to_owned()],
        loaded: [("m".to_owned(), LoadedModel { bytes: 77, unloads: 5 }), ("n".to_owned(), LoadedModel::default())].into(),
    }));
    let text = metrics.render().unwrap();
    for line in [
        "millrace_result_cache_hits_total 3",
        "millrace_result_cache_misses_total 2",
        "millrace_result_cache_bytes 1000",
        "millrace_model_loaded_bytes{model=\"m\"} 77",
        "millrace_model_loaded_bytes{model=\"n\"} 0",
        "millrace_model_unloads_total{model=\"m\"} 5",
        "millrace_model_info{digest=\"abc\",model=\"m\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

/// Would catch: a renamed series, a suffix twice or not at all, a label of the SDK's own.
#[test]
fn metrics_read_under_their_names() {
    let metrics = Metrics::new().unwrap();
    metrics.consumed("p", 3);
    metrics.dead("p", "poison", 1);
    metrics.decided("p", 0.003);
    metrics.budget_used(5);
    let text = metrics.render().unwrap();
    assert!(text.contains("millrace_events_consumed_total{pipeline=\"p\"} 3"), "{text}");
    assert!(text.contains("millrace_budget_used_bytes 5"), "{text}");
    assert!(text.contains("millrace_decide_duration_seconds_bucket"), "{text}");
    let labels = "messaging_consumer_group_name=\"p\",messaging_operation_name=\"poll\",messaging_system=\"kafka\"";
    assert!(text.contains(&format!("messaging_client_consumed_messages_total{{{labels}}} 3")), "{text}");
}

/// Would catch: a first halt or retry that no increase shows, for its series began with it; counts that begin anew when a tally is asked for again.
#[test]
fn failures_are_counted_from_nothing() {
    let metrics = Metrics::new().unwrap();
    metrics.tally("p");
    let line = |stage, count| format!("millrace_retries_total{{pipeline=\"p\",stage=\"{stage}\"}} {count}\n");
    let text = metrics.render().unwrap();
    for stage in STAGES {
        assert!(text.contains(&line(stage, 0)), "{text}");
    }
    assert!(text.contains("millrace_halts_total{pipeline=\"p\",reason=\"safety\"} 0\n"), "{text}");
    assert!(text.contains("millrace_canaries_taken_back_total{pipeline=\"p\"} 0\n"), "{text}");
    metrics.took_back("p");
    metrics.retried("p", "decide");
    metrics.halted("p", "safety");
    metrics.tally("p");
    let text = metrics.render().unwrap();
    assert!(text.contains(&line("decide", 1)) && text.contains(&line("publish", 0)), "{text}");
    assert!(text.contains("millrace_halts_total{pipeline=\"p\",reason=\"safety\"} 1\n"), "{text}");
    assert!(text.contains("millrace_canaries_taken_back_total{pipeline=\"p\"} 1\n"), "{text}");
}

/// Would catch: a stage that the driver counts and that is not there from the start, or one that nobody counts.
#[test]
fn every_stage_that_is_counted_is_listed() {
    fn read(folder: &Path, counted: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, counted);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            counted.extend(
                text.split("retried(\"").skip(1).filter_map(|after| after.split_once('"')).map(|(stage, _)| stage.to_owned()),
            );
        }
    }
    let mut counted = BTreeSet::new();
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pipeline"), &mut counted);
    assert_eq!(counted, STAGES.map(str::to_owned).into());
}

/// Would catch: a name that is in no list or twice, a series that never comes, a suffix twice; work that is not divided among calls.
#[test]
fn all_metrics_come_under_the_listed_names() {
    let metrics = Metrics::new().unwrap();
    let tally = metrics.tally("p");
    tally.limit(Limits { model: "risk@0123".into(), slice: 64, calls_in_flight: 2, ..Limits::default() });
    tally.call_begins(Instant::now());
    tally.call_ends(10, 5.0, Instant::now());
    tally.fell_back("new_user");
    tally.decided(1, [0.5].into_iter(), [(Some("approve"), Some(0.7))].into_iter());
    tally.tokens().fetch_add(12, Ordering::Relaxed);
    let shadow = Arc::new(ShadowTally::new("m@2", ShadowState::Running));
    shadow.compared(Some(("approve", "review")), &[(0.25, 0.5)]);
    tally.follow_shadow(shadow);
    let rungs = Arc::new(RungTally::new(vec!["full".into(), "small".into()]));
    rungs.ended(1, 3);
    rungs.stands_on(1);
    tally.follow_rungs(rungs);
    metrics.consumed("p", 1);
    metrics.predictions("p", 1);
    metrics.skipped("p", "quiet", 1);
    metrics.swapped("p", "v2", "emitted", 1);
    metrics.dead("p", "poison", 1);
    metrics.decided("p", 0.1);
    metrics.published("p", 1, 0.1);
    metrics.event_age("p", 0.1);
    metrics.called("p", 1, 0.1);
    metrics.retried("p", "call");
    metrics.halted("p", "safety");
    metrics.score("p", 0.7);
    metrics.skew("p", 1.0);
    metrics.budget_used(1);
    metrics.budget_limit(1);
    metrics.neighbour_up("p", "kafka", true);
    metrics.follow_readiness(Arc::new(|| true));
    metrics.follow_models(Arc::new(|| ModelGauges {
        loaded: [("m".to_owned(), LoadedModel::default())].into(),
        ..Default::default()
    }));
    metrics.follow_partitions(Arc::new(|| {
        let one = PartitionGauges {
            topic: "in".into(),
            partition: 0,
            state: "running".into(),
            paused: true,
            version: Some(("v2".into(), String::new())),
            waits_for: true,
            undecided: Some(8),
            unpublished: Some(0),
            behind_seconds: Some(0.0),
            headroom: Some(60),
            state_bytes: Some(0),
        };
        [("p".to_owned(), vec![one])].into()
    }));
    let text = metrics.render().unwrap();
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(text.lines().any(|line| line.starts_with("# TYPE") && line.split(' ').nth(2) == Some(name)), "{name} in {text}");
    }
    let listed: std::collections::BTreeSet<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    assert_eq!(listed.len(), Metric::ALL.len());
    for line in text.lines().filter(|line| line.starts_with("# TYPE millrace_")) {
        assert!(listed.contains(line.split(' ').nth(2).unwrap()), "{line} is in no list");
    }
    for line in [
        "millrace_lag_work_seconds{pipeline=\"p\"} 2",
        "millrace_labels_total{label=\"approve\",pipeline=\"p\"} 1",
        "millrace_fallbacks_total{pipeline=\"p\",reason=\"new_user\"} 1",
        "millrace_tokens_total{pipeline=\"p\"} 12",
        "millrace_padding_tokens_total{pipeline=\"p\"} 0",
        "millrace_slice_limit_events{pipeline=\"p\"} 64",
        "millrace_swap_partitions{canary=\"\",pipeline=\"p\",version=\"v2\"} 1",
        "millrace_swap_waiting_partitions{pipeline=\"p\"} 1",
        "millrace_swap_events_total{ending=\"emitted\",pipeline=\"p\",version=\"v2\"} 1",
        "millrace_model_info{digest=\"0123\",model=\"risk\"} 1",
        "millrace_shadow_events_total{outcome=\"flipped\",pipeline=\"p\"} 1",
        "millrace_shadow_flips_total{challenger=\"review\",champion=\"approve\",pipeline=\"p\"} 1",
        "millrace_shadow_score_shift{pipeline=\"p\"} 0.25",
        "millrace_shadow_up{pipeline=\"p\"} 1",
        "millrace_rung{pipeline=\"p\"} 1",
        "millrace_rung_events_total{pipeline=\"p\",rung=\"small\"} 3",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}
