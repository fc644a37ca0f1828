//! One section a file, with defaults, units and validation. Knows nothing but plain types.
