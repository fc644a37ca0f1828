//! Each question once: equal texts of a call share one answer, and what is kept from earlier calls is not asked again.

use super::Answer;
use crate::inference::InferenceError;
use crate::inference::results::{Key, Results};
use std::collections::HashMap;

/// Where an input's answer comes from.
enum Place {
    /// It was kept.
    Known(Answer),
    /// The answer with this number among the new ones.
    New(usize),
}

/// The inputs of one call without those that need no work.
pub struct Once<T> {
    /// What is still to be asked, in order of arrival.
    pub new: Vec<T>,
    /// Their keys; empty when nothing is kept.
    keys: Vec<Key>,
    places: Vec<Place>,
}

impl<T> Once<T> {
    /// `key` is asked only when it is of use: for a cache that is on, or more inputs than one.
    pub fn new(inputs: Vec<T>, results: &Results, merge: bool, key: impl Fn(&T) -> Key) -> Self {
        let merge = merge && inputs.len() > 1;
        if !merge && !results.is_on() {
            let places = (0..inputs.len()).map(Place::New).collect();
            return Self { new: inputs, keys: Vec::new(), places };
        }
        let keys: Vec<Key> = inputs.iter().map(key).collect();
        let known = results.find(&keys);
        let mut once = Self { new: Vec::new(), keys: Vec::new(), places: Vec::with_capacity(inputs.len()) };
        let mut first: HashMap<Key, usize> = HashMap::new();
        for ((input, key), known) in inputs.into_iter().zip(keys).zip(known) {
            let place = match (known, first.get(&key)) {
                (Some(answer), _) => Place::Known(answer),
                (None, Some(number)) if merge => Place::New(*number),
                _ => {
                    first.insert(key, once.new.len());
                    once.new.push(input);
                    once.keys.push(key);
                    Place::New(once.new.len() - 1)
                }
            };
            once.places.push(place);
        }
        once
    }

    /// One answer an input, in order, from one for each of `new`; those are kept. Where they are kept already, `vectors` says under which
    /// keys.
    pub fn answers(self, new: Vec<Answer>, vectors: &[Key], results: &Results) -> Result<Vec<Answer>, InferenceError> {
        if self.places.iter().any(|place| matches!(place, Place::New(number) if *number >= new.len())) {
            return Err(InferenceError::Poison("the model gave too few answers".to_owned()));
        }
        match vectors.len() == new.len() {
            true => {
                let refer = |((key, vector), answer): ((Key, &Key), &Answer)| (key, *vector, answer.truncated);
                results.refer(self.keys.into_iter().zip(vectors).zip(&new).map(refer));
            }
            false => results.keep(self.keys.into_iter().zip(&new)),
        }
        let mut uses = vec![0usize; new.len()];
        for place in &self.places {
            if let Place::New(number) = place {
                uses[*number] += 1;
            }
        }
        let mut new: Vec<Option<Answer>> = new.into_iter().map(Some).collect();
        let one = |place| match place {
            Place::Known(answer) => Some(answer),
            Place::New(number) => {
                uses[number] -= 1;
                // The last who wants it has it itself, not a copy.
                if uses[number] == 0 { new[number].take() } else { new[number].clone() }
            }
        };
        let all: Option<Vec<Answer>> = self.places.into_iter().map(one).collect();
        all.ok_or_else(|| InferenceError::Poison("the model gave too few answers".to_owned()))
    }
}
