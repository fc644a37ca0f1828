//! How rotary frequencies are stretched for texts that are longer than those of the first training: what the files say, and the
//! formulas, which are those of transformers.
//!
//! Where versions of transformers read a file differently, it is refused: `original_max_position_embeddings` and `factor` stand inside
//! the object, beside it or in both, and which one counts has changed.

use super::keys::Keys;
use super::spec::{Rotary, Scaling};

/// Keys that any kind may have.
const KNOWN: [&str; 8] = [
    "rope_theta",
    "rope_type",
    "type",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
];
const YARN: [&str; 6] = ["attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"];
const LONG: [&str; 3] = ["attention_factor", "short_factor", "long_factor"];

/// An object with rotary settings, and what stands around it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) object: Keys<'a>,
    /// The whole file.
    pub(super) top: Keys<'a>,
    /// `rope_parameters`, as transformers 5 has it.
    pub(super) new: bool,
    /// One of several, by type of layer.
    pub(super) nested: bool,
}

impl Place<'_> {
    /// Numbers of a head that are turned: `turned`; the base of the frequencies: `theta`.
    pub(super) fn scaling(self, turned: usize, theta: f32) -> Result<Scaling, String> {
        let object = self.object;
        let name = if object.has("rope_type") { "rope_type" } else { "type" };
        let kind = object.text(name)?;
        // The first Phi-3 files say su or yarn, and every version takes it for longrope.
        let kind = if self.phi3() && ["su", "yarn"].contains(&kind) { "longrope" } else { kind };
        let more: &[&str] = match kind {
            "yarn" => &YARN,
            "longrope" => &LONG,
            _ => &[],
        };
        if let Some(name) = object.names().find(|name| !KNOWN.contains(name) && !more.contains(name)) {
            return Err(
                object.wrong(name, "this key of the rotary settings is not known here, and might change what is computed")
            );
        }
        match kind {
            "default" => Ok(Scaling::None),
            "linear" => Ok(Scaling::Linear(object.positive("factor")?)),
            "dynamic" => object.positive("factor").map(|_| Scaling::Dynamic),
            "llama3" => self.llama3(),
            "yarn" => self.yarn(turned, theta),
            "longrope" if self.nested => Err(object.wrong(name, "it is computed here where all layers have the same settings")),
            "longrope" => self.long(turned),
            _ => Err(object.wrong(name, "default, linear, dynamic, yarn, longrope and llama3 are computed here")),
        }
    }

    fn phi3(self) -> bool {
        self.top.text("model_type") == Ok("phi3")
    }

    fn llama3(self) -> Result<Scaling, String> {
        let object = self.object;
        let (factor, low, high) =
            (object.positive("factor")?, object.positive("low_freq_factor")?, object.positive("high_freq_factor")?);
        let original = object.positive("original_max_position_embeddings")?;
        let beside = if self.nested { None } else { self.top.optional_positive("original_max_position_embeddings")? };
        if high <= low {
            return Err(object.wrong("high_freq_factor", &format!("it must be above low_freq_factor, {low}")));
        }
        if beside.is_some_and(|n| n != original) {
            return Err(object.wrong("original_max_position_embeddings", "the top level of the file says another number"));
        }
        Ok(Scaling::Llama3 { factor, low, high, original })
    }

    /// Tokens of the first training. `inside`: whether every version reads the key inside the object.
    fn original(self, inside: bool) -> Result<usize, String> {
        const NAME: &str = "original_max_position_embeddings";
        let (within, beside) = (self.object.optional_size(NAME)?, self.top.optional_size(NAME)?);
        if self.nested {
            return within.map_or_else(|| self.top.size("max_position_embeddings"), Ok);
        }
        let taken = match (within, beside) {
            // The class has this key, and counts on it alone.
            _ if self.phi3() => self.top.size(NAME)?,
            (Some(within), _) if inside || self.new => within,
            (_, Some(beside)) if !inside && !self.new => beside,
            _ => self.top.size("max_position_embeddings")?,
        };
        if within.into_iter().chain(beside).any(|said| said != taken) {
            let cause =
                format!("another place of the file, or max_position_embeddings, says {taken}, and only one of them can hold");
            return Err(if within.is_some_and(|n| n != taken) { self.object } else { self.top }.wrong(NAME, &cause));
        }
        Ok(taken)
    }

    /// YaRN (Peng and others, 2023): high frequencies stay, low ones are divided, and those between are mixed.
    fn yarn(self, turned: usize, theta: f32) -> Result<Scaling, String> {
        let object = self.object;
        let original = self.original(true)? as f64;
        let factor = match object.get("factor") {
            None if object.has("factor") => self.top.size("max_position_embeddings")? as f64 / original,
            _ => object.measure("factor")?.ok_or_else(|| object.wrong("factor", "a number above 0 is expected"))?,
        };
        // What is 0 is taken as absent, in every version.
        let magnitude = |weight: f64| if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 };
        let attention =
            match (object.optional_positive("attention_factor")?, object.measure("mscale")?, object.measure("mscale_all_dim")?) {
                (Some(given), ..) => given,
                (None, Some(one), Some(all)) => (magnitude(one) / magnitude(all)) as f32,
                _ => magnitude(1.0) as f32,
            };
        let (fast, slow) = (object.measure("beta_fast")?.unwrap_or(32.0), object.measure("beta_slow")?.unwrap_or(1.0));
        let size = turned as f64;
        // The pair that turns so often within the first training's length.
        let pair = |turns: f64| size * (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * f64::from(theta).ln());
        let (mut low, mut high) = (pair(fast), pair(slow));
        if !low.is_finite() || !high.is_finite() {
            return Err(format!("yarn with the base {theta}, {fast} and {slow} turns gives bounds that are no numbers"));
        }
        // transformers takes `null` for false.
        let truncate = !(object.has("truncate") && object.get("truncate").is_none()) && object.switch("truncate", true)?;
        if truncate {
            (low, high) = (low.floor(), high.ceil());
        } else if self.nested {
            return Err(object.wrong("truncate", "transformers does not read it in settings by type of layer"));
        }
        (low, high) = (low.max(0.0), high.min(size - 1.0));
        if low == high {
            // As transformers keeps the ramp from dividing by nothing.
            high += 0.001;
        }
        Ok(Scaling::Yarn { factor: factor as f32, low: low as f32, width: (high - low) as f32, attention })
    }

    /// LongRoPE (Ding and others, 2024): each frequency has a divisor of its own, and there are two sets of them.
    fn long(self, turned: usize) -> Result<Scaling, String> {
        let object = self.object;
        let original = self.original(false)?;
        let ratio = self.top.size("max_position_embeddings")? as f64 / original as f64;
        let given = object.optional_positive("attention_factor")?;
        let factor = match object.measure("factor")? {
            Some(factor)
                if given.is_none()
                    && !self.new
                    && factor != ratio
                    && (ratio != 1.0 || self.top.has("original_max_position_embeddings")) =>
            {
                let cause = format!(
                    "versions of transformers differ in whether it or {ratio}, the ratio of the lengths, holds; name the attention_factor"
                );
                return Err(object.wrong("factor", &cause));
            }
            Some(factor) => factor,
            None => ratio,
        };
        let attention = match given {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / (original as f64).ln()).sqrt() as f32,
        };
        let divisors = |name: &str| {
            let list = object.get(name).and_then(|v| v.as_array()).map(|list| list.iter().map(|v| v.as_f64()));
            let numbers: Option<Vec<f32>> = list.and_then(|list| list.map(|v| v.map(|v| v as f32)).collect());
            numbers
                .filter(|all| all.len() == turned / 2 && all.iter().all(|v| *v > 0.0 && v.is_finite()))
                .ok_or_else(|| object.wrong(name, &format!("{} numbers above 0 are expected, one a turned pair", turned / 2)))
        };
        Ok(Scaling::Long { short: divisors("short_factor")?, long: divisors("long_factor")?, original, attention })
    }
}

impl Rotary {
    /// The angle per position of each turned pair, `[turned / 2]`. In `f32` at every step, as transformers computes it.
    pub fn frequencies(&self) -> Vec<f32> {
        self.stretched(false)
    }

    /// The same in texts that are longer than [`Rotary::limit`].
    pub(super) fn long_frequencies(&self) -> Vec<f32> {
        self.stretched(true)
    }

    fn stretched(&self, far: bool) -> Vec<f32> {
        let one = |i: usize| {
            let length = self.theta.powf((2 * i) as f32 / self.turned as f32);
            let frequency = 1.0 / length;
            match &self.scaling {
                // Plain up to the positions of the network, which bound a text here.
                Scaling::None | Scaling::Dynamic => frequency,
                Scaling::Linear(factor) => frequency / factor,
                &Scaling::Llama3 { factor, low, high, original } => {
                    let length = 2.0 * std::f32::consts::PI / frequency;
                    if length < original / high {
                        frequency
                    } else if length > original / low {
                        frequency / factor
                    } else {
                        let smooth = (original / length - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                }
                Scaling::Yarn { factor, low, width, .. } => {
                    let kept = 1.0 - ((i as f32 - low) / width).clamp(0.0, 1.0);
                    1.0 / (factor * length) * (1.0 - kept) + frequency * kept
                }
                Scaling::Long { short, long, .. } => 1.0 / (if far { long } else { short }[i] * length),
            }
        };
        (0..self.turned / 2).map(one).collect()
    }

    /// What cosines and sines are multiplied by, so that scores keep their spread over more tokens.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention, .. } | Scaling::Long { attention, .. } => attention,
            _ => 1.0,
        }
    }

    /// Tokens up to which a text is a short one; `None`: all texts are turned alike.
    pub fn limit(&self) -> Option<usize> {
        match self.scaling {
            Scaling::Long { original, .. } => Some(original),
            _ => None,
        }
    }

    /// Whether every number is one. Strange bases and factors give others.
    pub(super) fn finite(&self) -> bool {
        let all = [self.frequencies(), self.long_frequencies()].concat();
        all.iter().chain([&self.attention_factor()]).all(|v| v.is_finite())
    }
}
