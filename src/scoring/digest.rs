//! The SHA-256 of a file, in lower-case hexadecimal.

use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}
