//! Ledger, slices, batching limits, memory budget; time is an argument. Pure.
