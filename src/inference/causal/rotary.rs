//! Rotary settings of a config.json, as transformers 4 and 5 save them, and the frequencies that follow from them.
//!
//! transformers 4 has `rope_theta`, `rope_scaling` and `partial_rotary_factor` beside each other (GPT-NeoX `rotary_emb_base` and
//! `rotary_pct`, Gemma 3 `rope_local_base_freq`); transformers 5 has one object `rope_parameters`, nested by layer type where local
//! and global layers differ. Both always write the base, since it is no key of the class that all configs share, so that its absence
//! never means a default: reading 10,000 there would be silently wrong for most models of today. The one exception is Llama before
//! transformers 4.33, whose class had no such key and the network 10,000 in its code.

use super::keys::Keys;
use super::scaling::Place;
use super::spec::{Rotary, Scaling};
use serde_json::Value;

/// What a family allows in its rotary settings.
#[derive(Clone, Copy)]
pub(super) struct Share {
    /// The key of the version 4 at the top level, when the family has one.
    pub(super) key: Option<&'static str>,
    /// What every version takes when the share is not given; `None`: it must be given.
    pub(super) absent: Option<f64>,
}

impl Share {
    /// The whole head is turned.
    pub(super) const WHOLE: Self = Self { key: None, absent: Some(1.0) };
}

/// The settings of a family whose layers all have the same.
pub(super) fn read(keys: Keys<'_>, head_size: usize, theta_key: &str, share: Share) -> Result<Rotary, String> {
    let new = keys.get("rope_parameters");
    let old = keys.get("rope_scaling");
    let object = match (new, old) {
        (Some(_), Some(_)) => {
            return Err(keys.wrong("rope_scaling", "rope_parameters is given too, and only one of them can hold"));
        }
        (Some(value), None) => Some(Keys::new(value, "rope_parameters.")?),
        (None, Some(value)) => Some(Keys::new(value, "rope_scaling.")?),
        (None, None) => None,
    };
    let inside = object.map_or(Ok(None), |o| o.optional_positive("rope_theta"))?;
    let theta = one_theta(keys, theta_key, inside)?;
    let inside = object.map_or(Ok(None), |o| o.optional_share("partial_rotary_factor"))?;
    let turned = turned(keys, head_size, share, inside)?;
    let place = |object| Place { object, top: keys, new: new.is_some(), nested: false };
    let scaling = object.map_or(Ok(Scaling::None), |o| place(o).scaling(turned, theta))?;
    Ok(Rotary { theta, turned, scaling })
}

/// Gemma 3: global and local layers, in this order.
pub(super) fn read_two(keys: Keys<'_>, head_size: usize) -> Result<Vec<Rotary>, String> {
    let turned = turned(keys, head_size, Share::WHOLE, None)?;
    let Some(value) = keys.get("rope_parameters") else {
        let object = keys.get("rope_scaling").map(|v| Keys::new(v, "rope_scaling.")).transpose()?;
        let theta = keys.positive("rope_theta")?;
        let place = |object| Place { object, top: keys, new: false, nested: true };
        let scaling = object.map_or(Ok(Scaling::None), |o| place(o).scaling(turned, theta))?;
        let local = Rotary { theta: keys.positive("rope_local_base_freq")?, turned, scaling: Scaling::None };
        return Ok(vec![Rotary { theta, turned, scaling }, local]);
    };
    for name in ["rope_scaling", "rope_theta", "rope_local_base_freq"] {
        if keys.get(name).is_some() {
            return Err(keys.wrong(name, "rope_parameters is given too, and only one of them can hold"));
        }
    }
    let both = Keys::new(value, "rope_parameters.")?;
    let kind = |name: &str, place: &str| {
        let value = both.get(name).ok_or_else(|| both.wrong(name, "this family has rotary settings for each type of layer"))?;
        let object = Keys::new(value, place)?;
        let turned = self::turned(object, head_size, Share::WHOLE, None)?;
        let theta = object.positive("rope_theta")?;
        let scaling = Place { object, top: keys, new: true, nested: true }.scaling(turned, theta)?;
        Ok::<_, String>(Rotary { theta, turned, scaling })
    };
    Ok(vec![
        kind("full_attention", "rope_parameters.full_attention.")?,
        kind("sliding_attention", "rope_parameters.sliding_attention.")?,
    ])
}

/// The base, given in one place or in both alike.
fn one_theta(keys: Keys<'_>, key: &str, inside: Option<f32>) -> Result<f32, String> {
    let mut found = inside;
    // GPT-NeoX of version 4 says its base twice.
    for name in [key, "rope_theta"] {
        let outside = keys.optional_positive(name)?;
        if let (Some(a), Some(b)) = (found, outside)
            && a != b
        {
            return Err(keys.wrong(name, &format!("another place of the file says {a}, and only one of them can hold")));
        }
        found = found.or(outside);
    }
    match found {
        Some(theta) => Ok(theta),
        None if key == "rope_theta" && hard_coded(keys) => Ok(10_000.0),
        None => keys.positive(key),
    }
}

/// Whether the file was written by a transformers that had the base of Llama in its code, and no key for it.
fn hard_coded(keys: Keys<'_>) -> bool {
    let saved = keys.get("transformers_version").and_then(Value::as_str).unwrap_or_default();
    let mut parts = saved.split('.').map(|part| part.parse::<u32>());
    let version = (parts.next(), parts.next());
    let llama = keys.get("model_type").and_then(Value::as_str) == Some("llama");
    llama && !keys.has("rope_parameters") && matches!(version, (Some(Ok(4)), Some(Ok(minor))) if minor < 33)
}

/// How many numbers of a head are turned.
fn turned(keys: Keys<'_>, head_size: usize, share: Share, inside: Option<f64>) -> Result<usize, String> {
    let mut found = inside;
    for name in share.key.into_iter().chain(["partial_rotary_factor"]) {
        let outside = keys.optional_share(name)?;
        if let (Some(a), Some(b)) = (found, outside)
            && a != b
        {
            return Err(keys.wrong(name, &format!("another place of the file says {a}, and only one of them can hold")));
        }
        found = found.or(outside);
    }
    let name = share.key.unwrap_or("partial_rotary_factor");
    let Some(part) = found.or(share.absent) else {
        return Err(keys.wrong(name, "it changes what the network computes and must be given"));
    };
    if share.key.is_none() && part != 1.0 {
        return Err(format!("{name} is {part}; this family turns whole heads"));
    }
    // As transformers: the product in double precision, cut to a whole number.
    let turned = (head_size as f64 * part) as usize;
    if turned == 0 || turned > head_size || !turned.is_multiple_of(2) {
        return Err(format!("{name} {part} of a head of {head_size} is {turned} numbers; an even part of the head is expected"));
    }
    Ok(turned)
}
