//! Signals, soft and hard cancellation, drain deadline, exit codes.
