//! The container. Every length is held against what is left of the file before anything is allocated for it.

use super::super::{Fault, damaged, unsupported};
use super::blocks::Kind;
use super::value::{Metadata, Value, short};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};

/// Entries of the metadata and of the tensor list at most; real files have a few hundred.
const ENTRIES: u64 = 1 << 17;
/// Dimensions of a tensor at most.
const DIMENSIONS: u32 = 4;

/// A tensor of the file.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    pub name: String,
    /// Row-major, the outermost first: the reverse of the order in the file.
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// First byte in the file, and how many.
    offset: u64,
    bytes: u64,
}

/// An open file.
pub struct Gguf<R> {
    from: R,
    version: u32,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    by_name: HashMap<String, usize>,
}

impl<R: Read + Seek> Gguf<R> {
    /// Reads all but the values. `bytes` is the length of the file.
    pub fn read(from: R, bytes: u64) -> Result<Self, Fault> {
        let mut cursor = Cursor { from, at: 0, bytes };
        if cursor.take::<4>()? != *b"GGUF" {
            return Err(damaged("it does not begin with GGUF"));
        }
        let version = cursor.u32()?;
        match version {
            2 | 3 => {}
            0x0200_0000 | 0x0300_0000 => {
                return Err(unsupported("it is written in big-endian order; convert it to little-endian"));
            }
            other => return Err(unsupported(format!("it is of GGUF version {other}; versions 2 and 3 are read"))),
        }
        let tensor_count = cursor.count("tensors")?;
        let entries = cursor.count("entries of metadata")?;
        let mut metadata = Metadata::default();
        for _ in 0..entries {
            let key = cursor.text()?;
            let kind = cursor.u32()?;
            let value = cursor.value(kind).map_err(|fault| at_key(fault, &key))?;
            metadata.insert(key, value)?;
        }
        let alignment = metadata.count("general.alignment")?.unwrap_or(32) as u64;
        if !alignment.is_power_of_two() || alignment > 1 << 16 {
            return Err(damaged(format!("`general.alignment` is {alignment}, not a power of two up to 65,536")));
        }
        let mut tensors = Vec::new();
        for _ in 0..tensor_count {
            tensors.push(cursor.tensor()?);
        }
        let data = cursor.at.next_multiple_of(alignment);
        let mut by_name = HashMap::new();
        for (index, tensor) in tensors.iter_mut().enumerate() {
            let begin = data.checked_add(tensor.offset).filter(|_| tensor.offset.is_multiple_of(alignment));
            let end = begin.and_then(|begin| begin.checked_add(tensor.bytes)).filter(|end| *end <= bytes);
            let (Some(begin), Some(_)) = (begin, end) else {
                return Err(damaged(format!("tensor `{}` lies outside the file of {bytes} bytes", short(&tensor.name))));
            };
            tensor.offset = begin;
            if by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(damaged(format!("tensor `{}` stands twice", short(&tensor.name))));
            }
        }
        apart(&tensors)?;
        Ok(Self { from: cursor.from, version, metadata, tensors, by_name })
    }

    pub fn version(&self) -> u32 {
        self.version
    }

    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name.get(name).map(|index| &self.tensors[*index])
    }

    /// The values of a tensor, row-major.
    pub fn values(&mut self, name: &str) -> Result<Vec<f32>, Fault> {
        let Some(tensor) = self.by_name.get(name).map(|index| &self.tensors[*index]) else {
            return Err(damaged(format!("it has no tensor `{name}`")));
        };
        let mut bytes = vec![0; usize::try_from(tensor.bytes).map_err(|_| damaged("a tensor does not fit into memory"))?];
        self.from.seek(SeekFrom::Start(tensor.offset))?;
        self.from.read_exact(&mut bytes)?;
        tensor.kind.decode(&bytes, &tensor.shape)
    }
}

fn at_key(fault: Fault, key: &str) -> Fault {
    match fault {
        Fault::Damaged(cause) => damaged(format!("metadata `{}`: {cause}", short(key))),
        other => other,
    }
}

struct Cursor<R> {
    from: R,
    at: u64,
    bytes: u64,
}

impl<R: Read> Cursor<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.at += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, Fault> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn count(&mut self, of: &str) -> Result<u64, Fault> {
        match self.u64()? {
            count if count <= ENTRIES => Ok(count),
            count => Err(damaged(format!("it claims {count} {of}; {ENTRIES} at most are read"))),
        }
    }

    /// Whether so many elements of at least this size may still be in the file.
    fn room(&self, count: u64, size: u64, of: &str) -> Result<usize, Fault> {
        let left = self.bytes.saturating_sub(self.at);
        match count.checked_mul(size).filter(|needed| *needed <= left).and_then(|_| usize::try_from(count).ok()) {
            Some(count) => Ok(count),
            None => Err(damaged(format!("{of} claims a length of {count}, and {left} bytes are left"))),
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = self.u64()?;
        let mut bytes = vec![0; self.room(length, 1, "a text")?];
        self.from.read_exact(&mut bytes)?;
        self.at += bytes.len() as u64;
        String::from_utf8(bytes).map_err(|_| damaged("a text is not UTF-8"))
    }

    fn integer(&mut self, kind: u32) -> Result<Option<i128>, Fault> {
        Ok(Some(match kind {
            0 => u8::from_le_bytes(self.take()?).into(),
            1 => i8::from_le_bytes(self.take()?).into(),
            2 => u16::from_le_bytes(self.take()?).into(),
            3 => i16::from_le_bytes(self.take()?).into(),
            4 => self.u32()?.into(),
            5 => i32::from_le_bytes(self.take()?).into(),
            10 => self.u64()?.into(),
            11 => i64::from_le_bytes(self.take()?).into(),
            _ => return Ok(None),
        }))
    }

    fn value(&mut self, kind: u32) -> Result<Value, Fault> {
        if let Some(integer) = self.integer(kind)? {
            return Ok(Value::Integer(integer));
        }
        Ok(match kind {
            6 => Value::Float(shortest(f32::from_le_bytes(self.take()?))),
            12 => Value::Float(f64::from_le_bytes(self.take()?)),
            7 => Value::Bool(self.take::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 => self.list()?,
            other => return Err(damaged(format!("type {other} is unknown"))),
        })
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let kind = self.u32()?;
        let length = self.u64()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            8 | 10..=12 => 8,
            9 => return Err(damaged("it is a list of lists, which no model has")),
            other => return Err(damaged(format!("type {other} is unknown"))),
        };
        let count = self.room(length, size, "a list")?;
        Ok(match kind {
            8 => Value::Texts((0..count).map(|_| self.text()).collect::<Result<_, _>>()?),
            6 => Value::Floats((0..count).map(|_| Ok(f32::from_le_bytes(self.take()?))).collect::<Result<_, Fault>>()?),
            5 => Value::Integers((0..count).map(|_| Ok(i32::from_le_bytes(self.take()?))).collect::<Result<_, Fault>>()?),
            7 => Value::Bools((0..count).map(|_| Ok(self.take::<1>()? != [0])).collect::<Result<_, Fault>>()?),
            _ => {
                let bytes = length * size;
                let skipped = std::io::copy(&mut self.from.by_ref().take(bytes), &mut std::io::sink())?;
                self.at += skipped;
                if skipped != bytes {
                    return Err(damaged("it ends in the middle"));
                }
                Value::Other(length)
            }
        })
    }

    fn tensor(&mut self) -> Result<TensorInfo, Fault> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if dimensions == 0 || dimensions > DIMENSIONS {
            return Err(damaged(format!("tensor `{}` has {dimensions} dimensions", short(&name))));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            shape.push(self.u64()?);
        }
        shape.reverse();
        let kind = self.u32()?;
        let offset = self.u64()?;
        let kind =
            Kind::of(kind).ok_or_else(|| unsupported(format!("tensor `{}` is of type {kind}; {}", short(&name), Kind::KNOWN)))?;
        let bytes = kind.bytes(&shape).ok_or_else(|| {
            damaged(format!("tensor `{}` has the impossible shape {shape:?} for {}", short(&name), kind.name()))
        })?;
        if bytes > self.bytes {
            return Err(damaged(format!("tensor `{}` needs {bytes} bytes, the file has {}", short(&name), self.bytes)));
        }
        let shape = shape.into_iter().map(|n| n as usize).collect();
        Ok(TensorInfo { name, shape, kind, offset, bytes })
    }
}

/// Refuses tensors that share bytes: a small file could claim any number of large ones.
fn apart(tensors: &[TensorInfo]) -> Result<(), Fault> {
    let mut sorted: Vec<&TensorInfo> = tensors.iter().collect();
    sorted.sort_by_key(|tensor| (tensor.offset, tensor.bytes));
    match sorted.windows(2).find(|pair| pair[0].offset + pair[0].bytes > pair[1].offset) {
        Some(pair) => Err(damaged(format!("tensors `{}` and `{}` overlap", short(&pair[0].name), short(&pair[1].name)))),
        None => Ok(()),
    }
}

/// A float as the shortest decimal that means it: 1e-5, and not 0.000009999999747378752.
fn shortest(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}
