//! One file's bytes in the cache: fetched beside their name, gone on with where they were cut off, checked, and then named.

use super::cache_error;
use crate::hub::{Hub, HubError};
use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::CONTENT_RANGE;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes that are read at a time.
const PIECE: usize = 1 << 18;

pub struct Blob<'a> {
    /// What it is called in the model.
    pub file: &'a str,
    pub path: PathBuf,
    pub size: u64,
    /// `None` where the hub does not tell.
    pub sha256: Option<&'a str>,
}

/// How one answer was read.
enum Reading {
    Whole,
    /// The connection ended before the bytes did.
    Cut(HubError),
}

impl Blob<'_> {
    /// Fetches what is missing, and returns how many bytes came. `ask` gives the bytes from one on.
    pub fn fetch(
        &self,
        hub: &Hub,
        told: &mut dyn FnMut(u64),
        ask: &dyn Fn(u64) -> Result<Response, HubError>,
    ) -> Result<u64, HubError> {
        let part = self.path.with_extension("incomplete");
        let failed = |cause: std::io::Error| cache_error(&part, &cause);
        if let Some(parent) = part.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&part).map_err(failed)?;
        // Another process that fetches the same goes first; then it is there.
        file.lock().map_err(failed)?;
        if self.path.is_file() {
            return Ok(0);
        }
        let (mut came, mut cuts) = (0, 0);
        loop {
            let mut have = file.seek(SeekFrom::End(0)).map_err(failed)?;
            if have > self.size {
                file.set_len(0).map_err(failed)?;
                have = 0;
            }
            if have == self.size {
                break;
            }
            let response = ask(have)?;
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE || !continues(&response, have) {
                // It begins anew.
                file.set_len(0).map_err(failed)?;
                have = file.seek(SeekFrom::Start(0)).map_err(failed)?;
            }
            if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
                cuts += 1;
                if cuts >= hub.tries {
                    let what = format!("it does not give {} whole", self.file);
                    return Err(HubError::NotAHub { hub: hub.endpoint(), what });
                }
                continue;
            }
            let before = have;
            let read = self.copy(hub, response, &mut file, &mut have, told).map_err(failed)?;
            came += have - before;
            if let Reading::Cut(cause) = read {
                // A try that brought something is none.
                cuts = if have > before { 1 } else { cuts + 1 };
                if cuts >= hub.tries {
                    return Err(cause);
                }
                hub.wait(cuts - 1);
            } else if have != self.size {
                return Err(
                    self.spoiled(&part, HubError::WrongSize { file: self.file.to_owned(), expected: self.size, found: have })
                );
            }
        }
        file.sync_all().map_err(failed)?;
        if let Some(expected) = self.sha256 {
            let found = sha256(&mut file).map_err(failed)?;
            if !found.eq_ignore_ascii_case(expected) {
                let (file, expected) = (self.file.to_owned(), expected.to_owned());
                return Err(self.spoiled(&part, HubError::WrongHash { file, expected, found }));
            }
        }
        std::fs::rename(&part, &self.path).map_err(failed)?;
        Ok(came)
    }

    /// Writes an answer behind what is there; never more than the file has.
    fn copy(
        &self,
        hub: &Hub,
        mut from: Response,
        to: &mut File,
        have: &mut u64,
        told: &mut dyn FnMut(u64),
    ) -> std::io::Result<Reading> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = match from.read(&mut piece) {
                Ok(0) if *have < self.size => {
                    let cause = format!("{} ended after {have} of {} bytes", self.file, self.size);
                    return Ok(Reading::Cut(HubError::Connection { hub: hub.endpoint(), cause }));
                }
                Ok(0) => return Ok(Reading::Whole),
                Ok(count) => count,
                Err(cause) => return Ok(Reading::Cut(hub.lost(&cause))),
            };
            to.write_all(&piece[..count])?;
            *have += count as u64;
            told((*have).min(self.size));
            if *have > self.size {
                return Ok(Reading::Whole);
            }
        }
    }

    /// What was fetched is of no use: it goes, so that the next try begins anew.
    fn spoiled(&self, part: &Path, error: HubError) -> HubError {
        std::fs::remove_file(part).map_or_else(|cause| cache_error(part, &cause), |()| error)
    }

    /// Lets a name in a snapshot lead here; `depth` is how many folders below the snapshot it lies.
    pub fn link(&self, place: &Path, depth: usize) -> Result<(), HubError> {
        let failed = |cause: std::io::Error| cache_error(place, &cause);
        let parent = place.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(failed)?;
        let name = self.path.file_name().unwrap_or_default();
        let target = (0..depth + 2).fold(PathBuf::new(), |path, _| path.join("..")).join("blobs").join(name);
        let fresh = fresh(place);
        std::os::unix::fs::symlink(target, &fresh).map_err(failed)?;
        std::fs::rename(&fresh, place).map_err(failed)
    }
}

/// Whether an answer goes on from this byte.
fn continues(response: &Response, from: u64) -> bool {
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return from == 0;
    }
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()) == Some(from)
}

fn sha256(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            count => digest.update(&piece[..count]),
        }
    }
}

/// A name beside a file that nobody else has.
fn fresh(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4().simple()))
}

/// Writes a small file so that nobody sees a part of it.
pub fn written(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let failed = |cause: std::io::Error| cache_error(path, &cause);
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    let fresh = fresh(path);
    std::fs::write(&fresh, bytes).map_err(failed)?;
    std::fs::rename(&fresh, path).map_err(failed)
}
