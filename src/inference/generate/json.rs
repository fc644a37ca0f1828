//! Output that is a JSON value of a schema: a machine over bytes says which tokens may come.
//!
//! What comes out is compact, but for one blank that may stand behind a colon or a comma. Fields come in the order of `required`,
//! then the optional ones by name; fields that the schema does not name do not come.

mod machine;
mod schema;
mod step;

pub use schema::Schema;

use super::guide::Guide;
use super::vocabulary::Vocabulary;
use machine::State;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// States whose allowed tokens are remembered.
const REMEMBERED: usize = 256;

/// A token that may come, and the bytes that are needed to end the value after it.
type Allowed = Vec<(u32, u32)>;

/// A schema together with the tokens of a vocabulary; made once, used by many texts.
pub struct JsonTokens {
    schema: Schema,
    /// Tokens by their bytes, each with the bytes that it has in common with the one before.
    sorted: Vec<(Box<[u8]>, u32, usize)>,
    /// Whether every byte within a character has a token of its own; else no token may end inside a character.
    continues: bool,
    allowed: Mutex<HashMap<State, Arc<Allowed>>>,
}

impl JsonTokens {
    /// Refuses a vocabulary that has no token for a byte that the schema needs.
    pub fn new(schema: Schema, vocabulary: &Vocabulary) -> Result<Self, String> {
        let mut sorted: Vec<(Box<[u8]>, u32, usize)> = Vec::new();
        for id in 0..u32::try_from(vocabulary.size()).unwrap_or(u32::MAX) {
            if let Some(bytes) = vocabulary.bytes(id).filter(|bytes| !bytes.is_empty() && !vocabulary.ends().contains(&id)) {
                sorted.push((bytes.into(), id, 0));
            }
        }
        sorted.sort_unstable();
        for at in 1..sorted.len() {
            let common = sorted[at].0.iter().zip(&sorted[at - 1].0).take_while(|(a, b)| a == b).count();
            sorted[at].2 = common;
        }
        let single: Vec<u8> = sorted.iter().filter_map(|(bytes, ..)| (bytes.len() == 1).then_some(bytes[0])).collect();
        if let Some(byte) = schema.needs().into_iter().find(|byte| !single.contains(byte)) {
            return Err(format!("the model has no token for {:?} alone, which this schema needs", char::from(byte)));
        }
        let continues = (0x80..=0xbf).all(|byte| single.contains(&byte));
        Ok(Self { schema, sorted, continues, allowed: Mutex::default() })
    }

    /// Tokens that the shortest value needs at most.
    pub fn least(&self) -> usize {
        self.schema.begin().left(&self.schema) as usize
    }

    fn allowed(&self, state: &State) -> Arc<Allowed> {
        if let Some(known) = self.allowed.lock().unwrap_or_else(PoisonError::into_inner).get(state) {
            return Arc::clone(known);
        }
        let found = Arc::new(self.find(state));
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        if allowed.len() >= REMEMBERED {
            allowed.clear();
        }
        allowed.insert(state.clone(), Arc::clone(&found));
        found
    }

    /// Tries every token; one that has a beginning in common with the one before goes on from there.
    fn find(&self, state: &State) -> Allowed {
        let mut allowed = Vec::new();
        // The states after 0, 1, ... bytes of the token at hand, as far as they live.
        let mut states: Vec<State> = vec![state.clone()];
        for (bytes, id, common) in &self.sorted {
            states.truncate(common + 1);
            if states.len() <= *common {
                continue;
            }
            for byte in &bytes[*common..] {
                let mut next = states[states.len() - 1].clone();
                if !next.advance(&self.schema, *byte) {
                    break;
                }
                states.push(next);
            }
            let after = &states[states.len() - 1];
            if states.len() == bytes.len() + 1 && (self.continues || !after.inside_character()) {
                allowed.push((*id, after.left(&self.schema)));
            }
        }
        allowed
    }
}

/// One value on its way.
pub struct JsonGuide {
    tokens: Arc<JsonTokens>,
    vocabulary: Arc<Vocabulary>,
    state: State,
}

impl JsonGuide {
    pub fn new(tokens: Arc<JsonTokens>, vocabulary: Arc<Vocabulary>) -> Self {
        let state = tokens.schema.begin();
        Self { tokens, vocabulary, state }
    }
}

impl Guide for JsonGuide {
    fn mask(&mut self, logits: &mut [f32], left: usize) {
        let before = logits.to_vec();
        logits.fill(f32::NEG_INFINITY);
        for (id, needed) in self.tokens.allowed(&self.state).iter() {
            if (*needed as usize) < left
                && let (Some(logit), Some(before)) = (logits.get_mut(*id as usize), before.get(*id as usize))
            {
                *logit = *before;
            }
        }
    }

    fn may_end(&self) -> bool {
        self.state.may_end(&self.tokens.schema)
    }

    fn advance(&mut self, id: u32) -> bool {
        for byte in self.vocabulary.bytes(id).unwrap_or_default() {
            self.state.advance(&self.tokens.schema, *byte);
        }
        !self.state.is_over()
    }
}
