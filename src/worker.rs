//! Composition root: builds the rooms from the config, owns the tasks.
