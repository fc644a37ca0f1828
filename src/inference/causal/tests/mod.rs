//! Parity with transformers on tiny random checkpoints, and what is refused.

mod batches;
mod configs;
mod parity;
mod support;
