//! Pause, resume and swap, as the command line and HTTP ask for them.

use super::swapped;
use crate::admin::{ApiError, OperatorApi, SwapWish, Wish};
use crate::store::postgres::{NAME_CHARS, Operator, PostgresStore, REASON_CHARS, Scope, Step};
use crate::store::{Pause, Store, StoreError};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What is asked for, before it is checked.
#[derive(Debug, Clone, Copy)]
pub struct Order<'a> {
    pub topic: Option<&'a str>,
    pub partition: Option<i32>,
    pub reason: Option<&'a str>,
    pub by: &'a str,
}

impl<'a> Order<'a> {
    /// What of the pipeline is meant, or what is wrong. A partition without a topic is one of the only topic that there is.
    pub fn scope(&self, pipeline: &'a str, topics: &'a [String]) -> Result<Scope<'a>, String> {
        let topic = match (self.topic, self.partition, topics) {
            (None, Some(_), [only]) => Some(only.as_str()),
            (None, Some(_), _) => {
                return Err(format!("a partition of which topic? The pipeline {pipeline} reads {}", topics.join(", ")));
            }
            (topic, ..) => topic,
        };
        if let Some(topic) = topic.filter(|topic| !topics.iter().any(|known| known == topic)) {
            return Err(format!("the pipeline {pipeline} does not read the topic {topic:?}, it reads {}", topics.join(", ")));
        }
        if let Some(partition) = self.partition.filter(|partition| *partition < 0) {
            return Err(format!("partition {partition}: partitions are counted from 0"));
        }
        Ok(Scope { pipeline, topic, partition: self.partition })
    }

    /// The words of the journal, or what is wrong with them.
    pub fn operator(&self, through: &'static str, reason_needed: bool) -> Result<Operator<'a>, String> {
        let reason = self.reason.map(str::trim).filter(|reason| !reason.is_empty());
        if reason_needed && reason.is_none() {
            return Err("it needs a reason: whoever finds it must know why".to_owned());
        }
        for (what, text, most) in [("reason", reason.unwrap_or_default(), REASON_CHARS), ("name", self.by, NAME_CHARS)] {
            if text.chars().count() > most || text.chars().any(char::is_control) {
                return Err(format!("the {what} must have {most} characters at most, and no line breaks"));
            }
        }
        Ok(Operator { by: self.by.trim(), reason, through })
    }
}

/// One pause as JSON.
pub fn told(pipeline: &str, pause: &Pause) -> Value {
    json!({
        "pipeline": pipeline, "topic": pause.topic, "partition": pause.partition,
        "reason": pause.reason, "by": pause.by, "since": pause.since,
    })
}

/// What to say of a partition that no worker has seen, which is a typo mostly; `None` where one has, or where none has any yet.
pub async fn unknown(store: &PostgresStore, pipeline: &str, topic: &str, partition: i32) -> Result<Option<String>, StoreError> {
    let Some(run) = store.current_run(pipeline).await? else { return Ok(None) };
    let known = store.partitions(pipeline, run, topic).await?;
    let highest = known.iter().map(|(number, _)| *number).max();
    let is_known = known.iter().any(|(number, _)| *number == partition);
    Ok(highest.filter(|_| !is_known).map(|highest| {
        format!("no worker has seen {topic}/{partition} so far, the highest is {highest}; the pause waits for it")
    }))
}

/// What is paused of a pipeline now, in one line; `None`: nothing.
pub fn in_force(pauses: &[(String, Pause)]) -> Option<String> {
    let one =
        |(_, pause): &(String, Pause)| format!("{} (by {} since {}: {})", pause.what(), pause.by, pause.since, pause.reason);
    (!pauses.is_empty()).then(|| pauses.iter().map(one).collect::<Vec<_>>().join("; "))
}

/// Operators over HTTP. Until the database is reached nothing can be changed.
#[derive(Default)]
pub struct Operators {
    /// Topics by pipeline.
    pub pipelines: BTreeMap<String, Vec<String>>,
    /// Versions by pipeline, `base` among them.
    pub versions: BTreeMap<String, Vec<String>>,
    pub store: OnceLock<Arc<PostgresStore>>,
}

fn refused(status: u16, kind: &'static str, message: String) -> ApiError {
    ApiError { status, kind, message, param: None }
}

fn of_store(error: StoreError) -> ApiError {
    match error {
        StoreError::Transient(_) => refused(503, "unavailable", error.to_string()),
        StoreError::Data(_) | StoreError::Fatal(_) => refused(500, "internal", error.to_string()),
    }
}

impl Operators {
    fn topics(&self, pipeline: &str) -> Result<&[String], ApiError> {
        self.pipelines.get(pipeline).map(Vec::as_slice).ok_or_else(|| {
            let names: Vec<&str> = self.pipelines.keys().map(String::as_str).collect();
            refused(404, "not_found", format!("this worker runs no pipeline {pipeline:?}, it runs {}", names.join(", ")))
        })
    }

    fn store(&self) -> Result<&PostgresStore, ApiError> {
        let starting = || refused(503, "unavailable", "the worker is starting and has not reached the database yet".to_owned());
        self.store.get().map(|store| &**store).ok_or_else(starting)
    }

    async fn done(&self, pipeline: &str, changed: i64) -> Result<Value, ApiError> {
        let pauses = self.store()?.all_pauses(Some(pipeline)).await.map_err(of_store)?;
        let pauses: Vec<Value> = pauses.iter().map(|(pipeline, pause)| told(pipeline, pause)).collect();
        Ok(json!({ "pipeline": pipeline, "changed": changed, "pauses": pauses }))
    }
}

impl Order<'_> {
    fn of(wish: &Wish) -> Result<Order<'_>, ApiError> {
        if wish.by.trim().is_empty() {
            return Err(refused(400, "invalid_request", "`by` is empty: say who you are, for the journal".to_owned()));
        }
        Ok(Order { topic: wish.topic.as_deref(), partition: wish.partition, reason: wish.reason.as_deref(), by: &wish.by })
    }
}

fn invalid(message: String) -> ApiError {
    refused(400, "invalid_request", message)
}

impl OperatorApi for Operators {
    fn pause<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move {
            let order = Order::of(&wish)?;
            let scope = order.scope(pipeline, self.topics(pipeline)?).map_err(invalid)?;
            let operator = order.operator("http", true).map_err(invalid)?;
            if wish.all {
                return Err(invalid(
                    "`all` is for resume: a pause without `topic` and `partition` is of the whole pipeline".to_owned(),
                ));
            }
            let store = self.store()?;
            let fresh = store.set_pause(scope, operator).await.map_err(of_store)?;
            let mut done = self.done(pipeline, i64::from(fresh)).await?;
            // Not refused: a partition may be on its way.
            if let (Some(topic), Some(partition)) = (scope.topic, scope.partition)
                && let Some(note) = unknown(store, pipeline, topic, partition).await.map_err(of_store)?
            {
                done["note"] = note.into();
            }
            Ok(done)
        })
    }

    fn resume<'a>(&'a self, pipeline: &'a str, wish: Wish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move {
            let order = Order::of(&wish)?;
            let scope = order.scope(pipeline, self.topics(pipeline)?).map_err(invalid)?;
            let operator = order.operator("http", false).map_err(invalid)?;
            if wish.all && (wish.topic.is_some() || wish.partition.is_some()) {
                return Err(invalid("`all` is every pause of the pipeline; leave `topic` and `partition` out".to_owned()));
            }
            let store = self.store()?;
            let lifted = store.lift_pause(scope, wish.all, operator).await.map_err(of_store)?;
            if lifted == 0 {
                let pauses = store.all_pauses(Some(pipeline)).await.map_err(of_store)?;
                let others = in_force(&pauses).unwrap_or_else(|| "nothing of it is paused".to_owned());
                return Err(refused(
                    409,
                    "not_paused",
                    format!("exactly this is not paused; of the pipeline {pipeline}: {others}"),
                ));
            }
            self.done(pipeline, lifted).await
        })
    }

    fn swap<'a>(&'a self, pipeline: &'a str, wish: SwapWish) -> BoxFuture<'a, Result<Value, ApiError>> {
        Box::pin(async move {
            self.topics(pipeline)?;
            if wish.by.trim().is_empty() {
                return Err(invalid("`by` is empty: say who you are, for the journal".to_owned()));
            }
            let order = Order { topic: None, partition: None, reason: Some(&wish.reason), by: &wish.by };
            let operator = order.operator("http", true).map_err(invalid)?;
            let store = self.store()?;
            let before = store.all_swaps(Some(pipeline)).await.map_err(of_store)?.pop().map(|(_, wish)| wish);
            let step = match (&wish.to, wish.back) {
                (Some(to), false) => {
                    let known: Vec<&str> = self.versions.get(pipeline).into_iter().flatten().map(String::as_str).collect();
                    swapped::checked(&known, pipeline, to, wish.canary, before.as_ref()).map_err(invalid)?;
                    Step::To(to, wish.canary)
                }
                (None, true) if wish.canary.is_none() => Step::Back(None),
                _ => return Err(invalid("send either `to`, with `canary` or without, or `back`: true".to_owned())),
            };
            let asked = store.wish_for(pipeline, step, operator).await;
            let now = store.all_swaps(Some(pipeline)).await.map_err(of_store)?.pop();
            let fresh = match (asked, &wish.to, &now) {
                (Ok(fresh), ..) => fresh,
                // The table refuses a canary of the version that scores all keys: somebody else was faster than this request.
                (Err(_), Some(to), Some((_, now))) if wish.canary.is_some() && *now.version == **to => {
                    return Err(refused(
                        409,
                        "in_force_already",
                        format!("the version {to} scores all keys by now, by {} since {}: {}", now.by, now.since, now.reason),
                    ));
                }
                (Err(error), ..) => return Err(of_store(error)),
            };
            match now {
                Some((name, now)) if fresh.is_some() || !wish.back => {
                    let mut told = swapped::swap_told(&name, &now);
                    told["changed"] = fresh.is_some().into();
                    Ok(told)
                }
                None if !wish.back => Ok(json!({ "pipeline": pipeline, "changed": false, "version": crate::config::BASE })),
                _ => Err(refused(
                    409,
                    "nothing_to_go_back_from",
                    format!("no step of the pipeline {pipeline} is left to take back"),
                )),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order<'a>(topic: Option<&'a str>, partition: Option<i32>) -> Order<'a> {
        Order { topic, partition, reason: Some("why"), by: "ann" }
    }

    /// Would catch: a partition of a topic that was not named, a typo that pauses nothing, a pause of everything for want of a topic.
    #[test]
    fn what_is_meant_is_one_thing_that_is_there() {
        let (one, two) = (["in".to_owned()], ["in".to_owned(), "more".to_owned()]);
        let scope = |order: Order<'static>, topics| {
            order
                .scope("p", topics)
                .map(|scope| (scope.topic.map(str::to_owned), scope.partition))
                .map_err(|wrong| wrong.len() > 10)
        };
        assert_eq!(scope(order(None, None), &one), Ok((None, None)));
        assert_eq!(scope(order(None, Some(3)), &one), Ok((Some("in".to_owned()), Some(3))));
        assert_eq!(scope(order(Some("more"), Some(0)), &two), Ok((Some("more".to_owned()), Some(0))));
        for wrong in [order(None, Some(3)), order(Some("inn"), None), order(Some("in"), Some(-1))] {
            assert_eq!(scope(wrong, &two), Err(true), "{wrong:?}");
        }
    }

    /// Would catch: a pause that nobody can explain, a name that breaks the lines of the journal.
    #[test]
    fn a_pause_has_a_reason_and_words_have_their_limits() {
        let with = |reason, by| Order { topic: None, partition: None, reason, by };
        assert!(with(Some(" why "), "ann").operator("cli", true).is_ok_and(|said| said.reason == Some("why")));
        assert!(with(None, "").operator("cli", false).is_ok());
        let long = "x".repeat(REASON_CHARS + 1);
        for (reason, by) in
            [(None, "ann"), (Some("  "), "ann"), (Some(&*long), "ann"), (Some("a\nb"), "ann"), (Some("why"), "a\u{1b}")]
        {
            assert!(with(reason, by).operator("cli", true).is_err(), "{reason:?} {by:?}");
        }
    }
}
