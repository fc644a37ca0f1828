//! The schema registry beside a pipeline: events wait for what it has to tell, and while they do the worker says so.

use crate::admin::Readiness;
use crate::event::RawEvent;
use crate::schema::Schemas;
use crate::source::readied::Needs;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The schemas that a pipeline's events need.
pub struct Needed(pub Arc<Schemas>);

impl Needs for Needed {
    fn missing(&self, raw: &RawEvent) -> Option<u32> {
        self.0.missing(raw)
    }

    fn fetch(&self, what: u32) -> BoxFuture<'static, ()> {
        self.0.clone().fetch(what).boxed()
    }

    fn next_round(&self) {
        self.0.next_round();
    }
}

/// Keeps the worker from being ready while events wait for a registry that gives no answer; says once that it is so, and once that it is over.
pub async fn follow(pipeline: Arc<str>, schemas: Arc<Schemas>, readiness: Arc<Readiness>, closing: CancellationToken) {
    let name = format!("Schema registry for {pipeline}");
    let mut troubles = schemas.troubles();
    let mut waits = false;
    loop {
        let now = troubles.borrow_and_update().first_key_value().map(|(id, problem)| format!("schema {id}: {problem}"));
        match &now {
            Some(problem) => {
                readiness.block(&name, &format!("events wait for {problem}"));
                if !waits {
                    tracing::warn!(pipeline = &*pipeline, problem, "Events wait for a schema that the registry does not give.");
                }
            }
            None => {
                readiness.clear(&name);
                if waits {
                    tracing::info!(pipeline = &*pipeline, "No event waits for the schema registry any more.");
                }
            }
        }
        waits = now.is_some();
        tokio::select! {
            () = closing.cancelled() => return,
            changed = troubles.changed() => if changed.is_err() { return },
        }
    }
}
