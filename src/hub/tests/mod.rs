//! The places of models, and a hub that speaks the protocol and does what a network may do.

mod fetching;
mod places;
mod twin;
