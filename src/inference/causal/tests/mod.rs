//! Parity with transformers on tiny random checkpoints, and what is refused.

mod activations;
mod batches;
mod beams;
mod configs;
mod engine;
mod generator;
mod longrope;
mod memory;
mod parity;
mod real;
mod scaling;
mod scores;
mod support;
