//! Millrace pulls events from Kafka, scores them in micro-batches with functions that run inside the process, and writes
//! each prediction exactly once to Postgres and to an output topic.
//!
//! The rooms, from what knows nothing to what knows everything:
//!
//! - [`config`]: one section a file; defaults, units, validation.
//! - [`event`]: what comes in: positions, raw events, decoding.
//! - [`record`]: what goes out and is stored: predictions, dead letters, their encoding.
//! - [`flow`]: ledger, slices, memory budget; time is an argument.
//! - [`state`]: folds over the events of a log: windows, counters, histories.
//! - [`scoring`]: models over rows of features: trees, linear models, small nets, rules; their explanations.
//! - [`schema`]: Avro and Protobuf values into JSON; a client of the schema registry.
//! - [`source`], [`store`], [`publisher`]: Kafka in, Postgres, Kafka out; the seams to the outside.
//! - [`hub`]: from the name of a model to its folder; a hub's cache, downloads.
//! - [`inference`]: tokeniser, weights, networks, the model threads.
//! - [`function`]: one file a task function.
//! - [`train`]: fine-tuning of the networks that `inference` runs.
//! - [`pipeline`]: decode, call, decide, publish; the delivery protocol.
//! - [`admin`], [`telemetry`]: HTTP; logs, metrics, traces.
//! - [`worker`], [`lifecycle`], [`cli`]: composition, signals, commands.

#[cfg(test)]
mod absent;
pub mod admin;
pub mod cli;
pub mod config;
pub mod event;
pub mod flow;
pub mod function;
pub mod hub;
pub mod inference;
pub mod lifecycle;
pub mod pipeline;
pub mod publisher;
pub mod record;
pub mod schema;
pub mod scoring;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod train;
#[cfg(test)]
mod twin;
pub mod worker;

pub use function::api::{answer, classify, embed, fill, generate, reply, rerank, sentiment, similar, summarize, tag, translate};
