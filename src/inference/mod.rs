//! Tokeniser, weights, networks; the model threads and their async handle.
