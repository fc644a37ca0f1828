//! Everything that needs real neighbours, in one binary: run it through `make test`, which starts Kafka and Postgres.

mod arrows;
mod chain;
mod commands;
mod corpus;
mod demo;
mod examples;
mod explained;
mod families;
mod faults;
mod generate;
mod inference;
mod kafka;
mod learnt;
mod process;
mod recommended;
mod remembered;
mod risk;
mod risk_text;
mod run;
mod scoring;
mod scripts;
mod store;
mod support;
mod telemetry;
mod tls;
mod trained;
