//! What the worker does while its neighbours, or it itself, break. Each test says which safety it would catch if it were gone.

mod bad_inputs;
mod connections;
mod deaths;
mod fenced;
mod kills;
mod moves;
mod outages;
mod refusals;
mod replies;
mod slow_publish;
mod start;
mod suspects;
mod went_back;
mod zombie;
