//! Fine-tuning of the networks that `inference` runs.
