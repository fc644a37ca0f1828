//! Damage: to bytes, to the values of JSON, and to the header of a safetensors file.

use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

/// A damaged copy of `bytes`.
pub fn mutated(file: &str, bytes: &[u8], others: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    if file.ends_with(".safetensors") && rng.random_ratio(2, 3) {
        return tensors(bytes, rng);
    }
    if let Ok(mut value) = serde_json::from_slice::<Value>(bytes)
        && (value.is_object() || value.is_array())
        && rng.random_ratio(3, 4)
    {
        for _ in 0..rng.random_range(1..=3) {
            json_value(&mut value, rng);
        }
        return value.to_string().into_bytes();
    }
    raw(bytes, others, rng)
}

/// The length of the header stays true to it, so that what it says is read.
fn tensors(bytes: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let length = bytes.first_chunk::<8>().map_or(0, |length| u64::from_le_bytes(*length) as usize);
    let Some((header, data)) = bytes.get(8..).and_then(|rest| rest.split_at_checked(length)) else {
        return raw(bytes, &[], rng);
    };
    let mut data = data.to_vec();
    let Ok(mut header) = serde_json::from_slice::<Value>(header) else { return raw(bytes, &[], rng) };
    match rng.random_range(0..4) {
        0 => json_value(&mut header, rng),
        1 => data.truncate(rng.random_range(0..=data.len())),
        2 => {
            // A number that is none, or endless, somewhere.
            let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, 0.0];
            for _ in 0..rng.random_range(1..=8) {
                let at = rng.random_range(0..=data.len() / 4) * 4;
                if let Some(four) = data.get_mut(at..at + 4) {
                    four.copy_from_slice(&special[rng.random_range(0..special.len())].to_le_bytes());
                }
            }
        }
        _ => swap_shapes(&mut header, rng),
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// Two tensors change shapes, types or names.
fn swap_shapes(header: &mut Value, rng: &mut StdRng) {
    let Some(all) = header.as_object_mut() else { return };
    let names: Vec<String> = all.keys().filter(|name| all[*name].is_object() && *name != "__metadata__").cloned().collect();
    if names.len() < 2 {
        return;
    }
    let (a, b) = (&names[rng.random_range(0..names.len())], &names[rng.random_range(0..names.len())]);
    let key = ["shape", "dtype", "data_offsets"][rng.random_range(0..3)];
    match rng.random_range(0..3) {
        0 => {
            let (one, other) = (all[a][key].clone(), all[b][key].clone());
            all[a][key] = other;
            all[b][key] = one;
        }
        1 => {
            let moved = all.remove(a).unwrap_or_default();
            all.insert(format!("{b}.x"), moved);
        }
        _ => {
            if let Some(shape) = all[a]["shape"].as_array_mut() {
                shape.reverse();
            }
        }
    }
}

fn odd(rng: &mut StdRng) -> Value {
    match rng.random_range(0..22) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(1),
        4 => json!(u64::MAX),
        5 => json!(i64::MIN),
        6 => json!(1e308),
        7 => json!(1e-308),
        8 => json!(0.5),
        9 => json!(""),
        10 => json!("\u{0}"),
        11 => json!("x".repeat(rng.random_range(1..5_000))),
        12 => json!([]),
        13 => json!({}),
        14 => json!(true),
        15 => json!("\u{202e}\u{fffd}🧑‍🧑‍🧒 [SEP] <s>"),
        16 => json!(1u64 << rng.random_range(0..40)),
        17 => json!([[[[[[]]]]]]),
        18 => json!(3),
        19 => json!("1"),
        20 => json!(rng.random_range(0..300)),
        _ => json!([1, "a", null]),
    }
}

/// Changes, drops or doubles one value somewhere in `value`.
fn json_value(value: &mut Value, rng: &mut StdRng) {
    // One way down, a step at a time, until it is told to stop.
    match value {
        Value::Object(map) if !map.is_empty() => {
            let keys: Vec<String> = map.keys().cloned().collect();
            let key = &keys[rng.random_range(0..keys.len())];
            match rng.random_range(0..8) {
                0 => _ = map.remove(key),
                1 => _ = map.insert(key.clone(), odd(rng)),
                2 => {
                    let moved = map.remove(key).unwrap_or_default();
                    let other = &keys[rng.random_range(0..keys.len())];
                    map.insert(other.clone(), moved);
                }
                _ => map.get_mut(key).into_iter().for_each(|inner| json_value(inner, rng)),
            }
        }
        Value::Array(list) if !list.is_empty() => {
            let at = rng.random_range(0..list.len());
            match rng.random_range(0..8) {
                0 => _ = list.remove(at),
                1 => list[at] = odd(rng),
                2 => {
                    let copy = list[at].clone();
                    list.insert(at, copy);
                }
                3 => list.truncate(at),
                _ => json_value(&mut list[at], rng),
            }
        }
        Value::Number(number) if rng.random_ratio(1, 2) => {
            let own = number.as_i64().unwrap_or(0);
            let by = [own.wrapping_add(1), own.wrapping_sub(1), own.wrapping_mul(2), own / 2, own.wrapping_neg()];
            *value = json!(by[rng.random_range(0..by.len())]);
        }
        Value::String(text) if rng.random_ratio(1, 2) => {
            *text = String::from_utf8_lossy(&raw(text.as_bytes(), &[], rng)).into_owned();
        }
        other => *other = odd(rng),
    }
}

/// Bits, stretches and ends.
pub fn raw(bytes: &[u8], others: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=out.len());
        let end = (at + rng.random_range(0..=64)).min(out.len());
        match rng.random_range(0..9) {
            0 => out.truncate(at),
            1 => _ = out.drain(at..end),
            2 => {
                let copy = out[at..end].to_vec();
                out.splice(at..at, copy);
            }
            3 => {
                let new: Vec<u8> = (0..rng.random_range(1..16)).map(|_| rng.random()).collect();
                out.splice(at..at, new);
            }
            4 if !others.is_empty() => {
                let other = &others[rng.random_range(0..others.len())];
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..=256)).min(other.len());
                out.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                let number = [0u64, 1, u64::MAX, 1 << 31, 1 << 32, 1 << 62, 255, 65_535][rng.random_range(0..8)];
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                let end = (at + width).min(out.len());
                out.splice(at..end, number.to_le_bytes()[..width].iter().copied());
            }
            _ if at < out.len() => out[at] ^= 1 << rng.random_range(0..8),
            _ => out.push(rng.random()),
        }
    }
    out
}
