//! What the worker does while its neighbours, or it itself, break. Each test says which safety it would catch if it were gone.

mod bad_inputs;
mod brokers;
mod clocks;
mod connections;
mod deaths;
mod failover;
mod fenced;
mod full_disk;
mod halted;
mod kills;
mod log_moved;
mod members;
mod moves;
mod network;
pub(crate) mod outages;
mod refusals;
mod replies;
mod rights;
mod slow_publish;
mod start;
mod stuck;
mod suspects;
mod weather;
mod went_back;
mod zombie;
