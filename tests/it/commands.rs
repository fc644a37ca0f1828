//! The operator's commands, as processes, on a real Kafka and a real Postgres.

mod adopt;
mod call;
mod cases;
mod check;
mod dead_letters;
mod desk;
mod dry_run;
mod erase;
mod eval;
mod eval_risk;
mod fetch;
mod listed;
mod migrate;
mod models;
mod parity;
mod retention;
mod rights;
mod seal;
mod usage;
mod verify;
