//! Event files as TensorBoard reads them: protocol buffers in TFRecord frames.
//!
//! A frame is the length (u64), its masked CRC-32C, the bytes and their masked CRC-32C, all little-endian; the mask is a rotation by 15
//! and 0xa282ead8 (tensorflow/core/lib/hash/crc32c.h). Fields are those of tensorflow's event.proto and summary.proto.

use anyhow::{Context, Result};
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// One file of events, which grows while a run goes.
pub struct EventFile {
    out: BufWriter<File>,
}

impl EventFile {
    /// A new file in `folder`, named as TensorBoard looks for it; an older one stays beside it.
    pub fn create(folder: &Path) -> Result<Self> {
        let now = now();
        let path = folder.join(format!("events.out.tfevents.{:.6}.millrace", now));
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let file = file.with_context(|| format!("cannot make {}", path.display()))?;
        let mut events = Self { out: BufWriter::new(file) };
        events.write(&Event { wall_time: now, step: 0, file_version: Some("brain.Event:2".into()), summary: None })?;
        events.flush()?;
        Ok(events)
    }

    pub fn scalar(&mut self, tag: &str, step: usize, value: f64) -> Result<()> {
        let value = Value { tag: tag.to_owned(), simple_value: Some(value as f32) };
        let summary = Some(Summary { values: vec![value] });
        self.write(&Event { wall_time: now(), step: step as i64, file_version: None, summary })
    }

    pub fn flush(&mut self) -> Result<()> {
        self.out.flush().context("cannot write the events for TensorBoard")
    }

    fn write(&mut self, event: &Event) -> Result<()> {
        let body = event.encode_to_vec();
        let length = (body.len() as u64).to_le_bytes();
        let frame = [&length[..], &masked(&length), &body, &masked(&body)].concat();
        self.out.write_all(&frame).context("cannot write the events for TensorBoard")
    }
}

fn masked(bytes: &[u8]) -> [u8; 4] {
    CASTAGNOLI.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The frames of a file, each checksum held.
    fn frames(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let (length, rest) = bytes.split_at(8);
            let (sum, rest) = rest.split_at(4);
            assert_eq!(sum, masked(length));
            let (body, rest) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            let (sum, rest) = rest.split_at(4);
            assert_eq!(sum, masked(body));
            events.push(Event::decode(body).unwrap());
            bytes = rest;
        }
        events
    }

    #[test]
    fn checksums_are_those_of_castagnoli() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(CASTAGNOLI.checksum(&[0; 32]), 0x8a91_36aa);
        // The eight bytes of the length 24, as the first frame of every TensorBoard file has them.
        assert_eq!(masked(&24u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }

    #[test]
    fn a_file_begins_with_its_version_and_holds_every_number() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path()).unwrap();
        file.scalar("train/loss", 3, 0.5).unwrap();
        file.scalar("dev/accuracy", 4, 0.75).unwrap();
        file.flush().unwrap();
        let path = folder.path().read_dir().unwrap().next().unwrap().unwrap().path();
        let events = frames(&std::fs::read(path).unwrap());
        assert_eq!(events[0].file_version.as_deref(), Some("brain.Event:2"));
        let scalars: Vec<(i64, &str, Option<f32>)> = events[1..]
            .iter()
            .map(|event| {
                let value = &event.summary.as_ref().unwrap().values[0];
                (event.step, value.tag.as_str(), value.simple_value)
            })
            .collect();
        assert_eq!(scalars, [(3, "train/loss", Some(0.5)), (4, "dev/accuracy", Some(0.75))]);
    }
}
