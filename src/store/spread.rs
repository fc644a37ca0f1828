//! One hash for every choice by name that all workers, builds and restarts must make alike: FNV-1a with the finisher of SplitMix64, so that
//! names that differ in their last digit lie far apart. It never changes.

/// Where FNV-1a begins.
pub const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of a text, from [`BASIS`] or from the hash of what stands before it.
pub fn spread(from: u64, text: &str) -> u64 {
    let hash = text.bytes().fold(from, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a hash that is another one in the next version.
    #[test]
    fn it_never_changes() {
        assert_eq!(spread(BASIS, ""), 0xf52a_15e9_a9b5_e89b);
        assert_ne!(spread(BASIS, "t-1") >> 32, spread(BASIS, "t-2") >> 32);
    }
}
