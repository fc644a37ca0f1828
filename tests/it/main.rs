//! Everything that needs real neighbours, in one binary: run it through `make test`, which starts Kafka and Postgres.

mod arrows;
mod faults;
mod inference;
mod kafka;
mod run;
mod store;
mod support;
