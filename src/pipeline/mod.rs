//! The one sentence: decode, call, decide, publish; the delivery protocol.
