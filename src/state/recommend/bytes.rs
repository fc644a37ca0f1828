//! How states are written: variable-length integers, little-endian floats, maps sorted by name. Equal states have equal bytes.

use super::forward::Forward;
use super::id::{Id, Map};
use crate::state::StoredError;
use std::collections::VecDeque;

pub type Read<T> = Result<T, StoredError>;

/// What can be written into a state and read again.
pub trait Part: Sized {
    fn write(&self, into: &mut Vec<u8>);
    fn read(from: &mut &[u8]) -> Read<Self>;
}

fn take<'a>(from: &mut &'a [u8], count: usize) -> Read<&'a [u8]> {
    let (taken, rest) = from.split_at_checked(count).ok_or(StoredError("it ends too early"))?;
    *from = rest;
    Ok(taken)
}

impl Part for u64 {
    fn write(&self, into: &mut Vec<u8>) {
        let mut rest = *self;
        while rest >= 0x80 {
            into.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        into.push(rest as u8);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = take(from, 1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(StoredError("a number has too many bytes"))
    }
}

impl Part for i64 {
    fn write(&self, into: &mut Vec<u8>) {
        (((*self << 1) ^ (*self >> 63)) as u64).write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let value = u64::read(from)?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }
}

impl Part for u32 {
    fn write(&self, into: &mut Vec<u8>) {
        u64::from(*self).write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        u32::try_from(u64::read(from)?).map_err(|_| StoredError("a number is too large"))
    }
}

impl Part for usize {
    fn write(&self, into: &mut Vec<u8>) {
        (*self as u64).write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        usize::try_from(u64::read(from)?).map_err(|_| StoredError("a number is too large"))
    }
}

impl Part for i32 {
    fn write(&self, into: &mut Vec<u8>) {
        i64::from(*self).write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        i32::try_from(i64::read(from)?).map_err(|_| StoredError("a number is too large"))
    }
}

impl Part for bool {
    fn write(&self, into: &mut Vec<u8>) {
        into.push(u8::from(*self));
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        match take(from, 1)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(StoredError("a flag is neither 0 nor 1")),
        }
    }
}

impl Part for f64 {
    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.to_le_bytes());
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let bytes = take(from, 8)?.try_into().map_err(|_| StoredError("a float is cut"))?;
        Ok(f64::from_le_bytes(bytes))
    }
}

impl Part for f32 {
    fn write(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.to_le_bytes());
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let bytes = take(from, 4)?.try_into().map_err(|_| StoredError("a float is cut"))?;
        Ok(f32::from_le_bytes(bytes))
    }
}

impl Part for Id {
    fn write(&self, into: &mut Vec<u8>) {
        self.as_bytes().len().write(into);
        into.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let length = usize::read(from)?;
        let text = std::str::from_utf8(take(from, length)?).map_err(|_| StoredError("a name is not UTF-8"))?;
        Ok(Id::new(text))
    }
}

impl Part for Box<str> {
    fn write(&self, into: &mut Vec<u8>) {
        self.len().write(into);
        into.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        Ok(Id::read(from)?.as_str().into())
    }
}

impl Part for Forward {
    fn write(&self, into: &mut Vec<u8>) {
        let (exponent, mantissa) = self.parts();
        i64::from(exponent).write(into);
        mantissa.write(into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let (exponent, mantissa) = (i64::read(from)?, f64::read(from)?);
        let exponent = i32::try_from(exponent).map_err(|_| StoredError("a sum is too large"))?;
        Forward::from_parts(exponent, mantissa).ok_or(StoredError("a sum is not normal"))
    }
}

impl<T: Part> Part for Option<T> {
    fn write(&self, into: &mut Vec<u8>) {
        self.is_some().write(into);
        if let Some(value) = self {
            value.write(into);
        }
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        Ok(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
}

impl<T: Part> Part for Vec<T> {
    fn write(&self, into: &mut Vec<u8>) {
        self.len().write(into);
        self.iter().for_each(|part| part.write(into));
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let count = usize::read(from)?;
        if count > from.len() {
            return Err(StoredError("it ends too early"));
        }
        (0..count).map(|_| T::read(from)).collect()
    }
}

impl<T: Part> Part for VecDeque<T> {
    fn write(&self, into: &mut Vec<u8>) {
        self.len().write(into);
        self.iter().for_each(|part| part.write(into));
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        Vec::read(from).map(Self::from)
    }
}

impl<T: Part> Part for Box<T> {
    fn write(&self, into: &mut Vec<u8>) {
        T::write(self, into);
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        T::read(from).map(Box::new)
    }
}

/// For types that are nothing but their parts, in this order.
macro_rules! parts {
    ($name:ty { $($field:ident),* $(,)? }) => {
        impl $crate::state::recommend::bytes::Part for $name {
            fn write(&self, into: &mut Vec<u8>) {
                $($crate::state::recommend::bytes::Part::write(&self.$field, into);)*
            }
            fn read(from: &mut &[u8]) -> $crate::state::recommend::bytes::Read<Self> {
                Ok(Self { $($field: $crate::state::recommend::bytes::Part::read(from)?),* })
            }
        }
    };
}
pub(super) use parts;

impl<T: Part> Part for Map<T> {
    fn write(&self, into: &mut Vec<u8>) {
        let mut entries: Vec<(&Id, &T)> = self.iter().collect();
        entries.sort_unstable_by_key(|(id, _)| *id);
        entries.len().write(into);
        for (id, value) in entries {
            id.write(into);
            value.write(into);
        }
    }
    fn read(from: &mut &[u8]) -> Read<Self> {
        let count = usize::read(from)?;
        if count > from.len() {
            return Err(StoredError("it ends too early"));
        }
        let mut map = Map::with_capacity_and_hasher(count, Default::default());
        for _ in 0..count {
            map.insert(Id::read(from)?, T::read(from)?);
        }
        Ok(map)
    }
}
