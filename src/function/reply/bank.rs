//! The approved replies with their vectors, computed once.

use super::Entry;
use super::guard::Approved;
use super::slots::{self, Piece, pieces};
use crate::function::api::block;
use crate::function::task::tokens;
use crate::function::vectors::embeddings;
use crate::inference::{Digest, Encoder};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A reply that is known.
pub struct Known {
    pub pieces: Vec<Piece>,
    pub source: String,
    pub intent: Option<String>,
    pub tags: Vec<String>,
    /// Of its text, of length 1.
    pub vector: Arc<[f32]>,
    /// What its rewritings are compared with; for those with placeholders it is made when they are filled.
    pub approved: Option<Approved>,
    /// Of the messages that it answers, of length 1.
    when: Vec<Arc<[f32]>>,
}

impl Known {
    /// What a message is compared with: the examples, or the text where there is none.
    pub fn examples(&self) -> impl Iterator<Item = &[f32]> {
        let text = self.when.is_empty().then_some(&self.vector);
        self.when.iter().chain(text).map(|vector| &**vector)
    }
}

/// All replies of one desk.
pub struct Bank {
    pub replies: Vec<Known>,
    /// The first digits of the sha256 of the replies, so that a record tells which bank it came from.
    pub digest: String,
    /// Tokens of the longest reply, roughly and rather too many.
    pub longest: usize,
    /// Paths in an event by the placeholders that they fill.
    pub placeholders: BTreeMap<String, String>,
}

impl Bank {
    /// The entries are checked. Blocks until all are embedded.
    pub fn new(encoder: &Encoder, entries: Vec<Entry>, fill: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut placeholders = BTreeMap::new();
        let mut cut = Vec::with_capacity(entries.len());
        for (place, entry) in entries.iter().enumerate() {
            let pieces = pieces(&entry.text).map_err(|cause| format!("reply {}: {cause}", place + 1))?;
            for piece in &pieces {
                if let Piece::Slot(name) = piece {
                    let path = fill.get(name).unwrap_or(name);
                    placeholders.insert(name.clone(), path.clone());
                }
            }
            cut.push(pieces);
        }
        if let Some(name) = fill.keys().find(|name| !placeholders.contains_key(*name)) {
            let known = placeholders.keys().cloned().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "the bank has none".to_owned() } else { format!("the bank has {known}") };
            return Err(format!("option `fill`: no reply has the placeholder {{{name}}}; {known}"));
        }
        let longest = cut.iter().map(|pieces| pieces.iter().map(cost).sum()).max().unwrap_or_default();
        let written = serde_json::to_vec(&entries).map_err(|cause| cause.to_string())?;
        let texts = entries.iter().flat_map(|entry| std::iter::once(&entry.text).chain(&entry.when)).cloned().collect();
        let vectors = block::on(embeddings(encoder, texts)).map_err(|cause| format!("the bank cannot be embedded: {cause}"))?;
        let mut vectors = vectors.into_iter().map(|(vector, _)| vector);
        let mut replies = Vec::with_capacity(entries.len());
        for (entry, pieces) in entries.into_iter().zip(cut) {
            let vector = vectors.next().ok_or("the model gave fewer vectors than it was asked for")?;
            let when = vectors.by_ref().take(entry.when.len()).collect();
            let source = entry.id.unwrap_or_default();
            replies.push(Known { pieces, source, intent: entry.intent, tags: entry.tags, vector, approved: None, when });
        }
        Ok(Self { replies, digest: Digest::of(&written).short().to_owned(), longest, placeholders })
    }
}

impl Bank {
    /// Works out once what every rewriting is compared with.
    pub fn prepare(&mut self) {
        let none = BTreeMap::new();
        for reply in &mut self.replies {
            reply.approved = slots::filled(&reply.pieces, &none).map(|text| Approved::of(&text));
        }
    }
}

/// Tokens of a part of a reply at most.
fn cost(piece: &Piece) -> usize {
    match piece {
        Piece::Text(text) => tokens(text),
        // Of four bytes a character.
        Piece::Slot(_) => 4 * slots::MOST_CHARACTERS / 3,
    }
}
