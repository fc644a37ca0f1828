//! Random numbers from a seed, which no new version of a library changes.

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` on, below `high`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.between(0.0, 1.0) < probability
    }

    /// A place in a list of that length.
    pub fn below(&mut self, length: usize) -> usize {
        (self.between(0.0, length as f64) as usize).min(length.saturating_sub(1))
    }

    /// Mean 0, deviation 1, at most 6 either way: twelve uniform numbers.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.between(0.0, 1.0)).sum::<f64>() - 6.0
    }

    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.between(0.0, 1.0)).ln()
    }

    /// How many events of a Poisson process with that mean; for small means.
    pub fn count(&mut self, mean: f64) -> usize {
        let mut waited = self.exponential(1.0);
        let mut count = 0;
        while waited < mean {
            waited += self.exponential(1.0);
            count += 1;
        }
        count
    }
}
