//! Avro: a schema's text into a plan, and bytes into JSON by that plan.
//!
//! It is done here and not by a library: what comes off a topic is anybody's. A reader that builds values would have to be told how deep a
//! recursive schema may go and how much a claimed length may take; this one writes JSON as it reads, and holds nothing else.

mod datum;
mod logical;
mod plan;

pub use plan::Plan;
