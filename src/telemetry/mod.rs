//! Logs, metrics, traces; metric names are one enum.
