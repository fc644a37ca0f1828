//! Which metrics there are, and with which labels: told by a worker, or by the instruments themselves where it takes a failure.

use super::files::{folder, root, rules, text};
use super::promql::{Query, read};
use millrace::telemetry::{Limits, LoadedModel, Metrics, ModelGauges, PartitionGauges, RungTally, ShadowState, ShadowTally};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

/// Metrics of others.
const FOREIGN: &[&str] = &[
    "up",
    "kube_cronjob_status_last_schedule_time",
    "kube_cronjob_status_last_successful_time",
    "kube_cronjob_next_schedule_time",
    "node_systemd_unit_state",
    "node_systemd_timer_last_trigger_seconds",
];

/// What every series has from the scrape: `namespace` where it is one of Kubernetes.
const SCRAPED: [&str; 3] = ["instance", "job", "namespace"];

/// What a worker of this stage tells at least: the work of each function, dead letters, and every gauge.
const TOLD: [&str; 16] = [
    "millrace_events_consumed_total",
    "millrace_predictions_total",
    "millrace_dead_letters_total",
    "millrace_decide_duration_seconds",
    "millrace_publish_duration_seconds",
    "millrace_event_age_seconds",
    "millrace_slice_events",
    "millrace_call_duration_seconds",
    "millrace_lag_undecided_events",
    "millrace_lag_unpublished_events",
    "millrace_partitions",
    "millrace_state_bytes",
    "millrace_budget_used_bytes",
    "millrace_budget_limit_bytes",
    "millrace_model_loaded_bytes",
    "millrace_result_cache_hits_total",
];

/// See the module.
pub struct Known {
    /// Names in the code.
    names: BTreeSet<String>,
    /// By metric: labels, and the values of those whose values are few.
    labels: BTreeMap<String, BTreeMap<String, BTreeSet<String>>>,
    recorded: BTreeSet<String>,
}

impl Known {
    pub fn of(scraped: &str) -> Self {
        let mut names = BTreeSet::new();
        let mut code = text("src/telemetry/metrics.rs");
        if root().join("src/telemetry/metrics").is_dir() {
            code.extend(folder("src/telemetry/metrics", ".rs").into_values());
        }
        for part in code.split("=> \"millrace_").skip(1) {
            names.insert(format!("millrace_{}", part.split('"').next().unwrap()));
        }
        assert!(names.len() > 20, "{names:?}");
        let mut labels = BTreeMap::new();
        told(scraped, &mut labels);
        told(&instruments(), &mut labels);
        let recorded = rules().into_iter().filter(|rule| !rule.alerts).map(|rule| rule.name).collect();
        Self { names, labels, recorded }
    }

    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.names.iter()
    }

    /// The labels come from real work, not from the instruments alone.
    pub fn worker_has_told(&self, scraped: &str) {
        let mut labels = BTreeMap::new();
        told(scraped, &mut labels);
        for name in TOLD {
            assert!(labels.contains_key(name), "the worker does not tell {name}: {scraped}");
        }
        let strange: Vec<&String> =
            labels.keys().filter(|name| name.starts_with("millrace_") && !self.names.contains(*name)).collect();
        assert!(strange.is_empty(), "not in `Metric`: {strange:?}");
    }

    /// Panics where a query asks for what nobody tells.
    pub fn check(&self, place: &str, query: &str) -> Query {
        let mut found = read(query);
        let recorded = found.used.iter().flat_map(|used| levels(&used.metric)).map(str::to_owned);
        found.named.extend(recorded.collect::<Vec<_>>());
        assert!(!found.used.is_empty(), "{place}: no metric in {query}");
        for used in &found.used {
            if used.metric.contains(':') {
                assert!(self.recorded.contains(&used.metric), "{place}: no rule records {}", used.metric);
                let mut wanted = used.grouped.iter().chain(used.matched.iter().map(|(label, ..)| label));
                let lost = wanted.find(|label| !levels(&used.metric).any(|level| level == label.as_str()));
                assert!(lost.is_none(), "{place}: {} has no label {lost:?}", used.metric);
                continue;
            }
            let base = self.base(&used.metric);
            let labels = base.and_then(|base| self.labels.get(base));
            let foreign = FOREIGN.contains(&used.metric.as_str());
            assert!(foreign || labels.is_some(), "{place}: there is no metric {}, or nobody tells it", used.metric);
            let none = BTreeMap::new();
            let labels = labels.unwrap_or(&none);
            let has = |label: &str| foreign || SCRAPED.contains(&label) || labels.contains_key(label);
            used.grouped.iter().for_each(|label| assert!(has(label), "{place}: {} has no label {label}", used.metric));
            for (label, operator, value) in &used.matched {
                assert!(has(label), "{place}: {} has no label {label}", used.metric);
                let values = labels.get(label).filter(|_| matches!(label.as_str(), "le" | "state" | "stage"));
                if let Some(values) = values.filter(|values| !values.is_empty()) {
                    // Since its version 3 Prometheus writes 10 as 10.0.
                    let one = value.split('|').any(|value| values.contains(value));
                    assert!(one, "{place}: no series of {} has {label}{operator}{value:?}: {values:?}", used.metric);
                }
            }
        }
        found
    }

    /// Name of the instrument of a series.
    fn base<'a>(&self, metric: &'a str) -> Option<&'a str> {
        let there = |name: &&str| self.names.contains(*name);
        let of = ["_bucket", "_sum", "_count"].iter().filter_map(|ending| metric.strip_suffix(ending));
        let histogram = |name: &&str| self.labels.get(*name).is_some_and(|labels| labels.contains_key("le"));
        Some(metric).filter(|name| there(name) && !histogram(name)).or_else(|| of.filter(there).find(histogram))
    }
}

/// What a scrape says of each instrument: the labels of its series, and their values.
fn told(scraped: &str, labels: &mut BTreeMap<String, BTreeMap<String, BTreeSet<String>>>) {
    let mut name = String::new();
    for line in scraped.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            name = kind.split(' ').next().unwrap().to_owned();
        }
        if line.starts_with('#') || !line.starts_with(name.as_str()) {
            continue;
        }
        let of = labels.entry(name.clone()).or_default();
        let Some((_, rest)) = line.split_once('{') else { continue };
        let mut rest = rest;
        while let Some((label, more)) = rest.split_once("=\"") {
            let (value, more) = more.split_once('"').unwrap();
            of.entry(label.trim_start_matches(',').to_owned()).or_default().insert(value.to_owned());
            rest = more;
        }
    }
}

/// The labels of a recorded metric: `namespace` and `pipeline` of `namespace_pipeline:…`. Of others none.
fn levels(metric: &str) -> impl Iterator<Item = &str> {
    metric.split_once(':').into_iter().flat_map(|(levels, _)| levels.split('_'))
}

/// The text of all instruments after each has recorded something: failures too, which a worker has none of.
fn instruments() -> String {
    let metrics = Metrics::new().unwrap();
    ["claim", "decide", "publish", "call", "suspect", "take", "version", "roll_back"]
        .into_iter()
        .for_each(|stage| metrics.retried("p", stage));
    metrics.halted("p", "safety");
    metrics.took_back("p");
    ["kafka", "postgres"].into_iter().for_each(|neighbour| metrics.neighbour_up("p", neighbour, true));
    metrics.follow_readiness(Arc::new(|| true));
    metrics.skipped("p", "filtered", 1);
    ["emitted", "skipped", "dead"].into_iter().for_each(|ending| metrics.swapped("p", "v2", ending, 1));
    metrics.skew("p", 1.0);
    metrics.score("p", 0.5);
    let tally = metrics.tally("p");
    tally.limit(Limits { model: "m@0123".into(), slice: 64, calls_in_flight: 2, ..Limits::default() });
    tally.call_begins(Instant::now());
    tally.call_ends(10, 5.0, Instant::now());
    tally.fell_back("new_user");
    tally.decided(1, [0.5].into_iter(), [(Some("approve"), Some(0.7))].into_iter());
    let shadow = ShadowTally::new("m@4567", ShadowState::Running);
    shadow.compared(Some(("approve", "review")), &[(0.25, 0.5)]);
    tally.follow_shadow(Arc::new(shadow));
    tally.follow_rungs(Arc::new(RungTally::new(vec!["full".into(), "small".into()])));
    let loaded =
        ModelGauges { loaded: [("m".to_owned(), LoadedModel { bytes: 1, unloads: 1 })].into(), ..ModelGauges::default() };
    metrics.follow_models(Arc::new(move || loaded.clone()));
    metrics.follow_partitions(Arc::new(|| {
        let swapped = PartitionGauges {
            topic: "in".to_owned(),
            partition: 0,
            state: "running".to_owned(),
            paused: true,
            version: Some(("base".to_owned(), "v2".to_owned())),
            waits_for: true,
            undecided: None,
            unpublished: None,
            behind_seconds: None,
            headroom: Some(60),
            state_bytes: Some(1),
        };
        [("p".to_owned(), vec![swapped])].into()
    }));
    metrics.render().unwrap()
}
