//! From tokens with scores to entities.

use super::Strategy;
use crate::inference::{best, joins, piece_label};

/// A token that is not special, with the probability of each label.
#[derive(Debug, Clone)]
pub struct Token {
    pub index: usize,
    /// Bytes in the text.
    pub start: usize,
    pub end: usize,
    /// Its word by the pre-tokeniser.
    pub word: Option<u32>,
    pub scores: Vec<f32>,
}

/// A labelled piece of the text, in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Entity {
    pub label: String,
    pub score: f32,
    pub start: usize,
    pub end: usize,
    pub index: Option<usize>,
}

/// The entities of one window, in order.
pub fn entities(tokens: Vec<Token>, labels: &[String], strategy: Strategy) -> Vec<Entity> {
    let labelled = |scores: &[f32], start: usize, end: usize, index: Option<usize>| {
        let label = best(scores);
        Entity { label: labels[label].clone(), score: scores[label], start, end, index }
    };
    let each = |token: &Token| labelled(&token.scores, token.start, token.end, Some(token.index));
    let word = |tokens: &[Token]| {
        let (start, end) = (tokens[0].start, tokens[tokens.len() - 1].end);
        labelled(&of_word(tokens, strategy), start, end, None)
    };
    match strategy {
        Strategy::None => tokens.iter().map(each).collect(),
        Strategy::Simple => grouped(tokens.iter().map(each).collect()),
        _ => grouped(tokens.chunk_by(|a, b| a.word.is_some() && a.word == b.word).map(word).collect()),
    }
}

/// The scores of a word out of those of its tokens.
fn of_word(tokens: &[Token], strategy: Strategy) -> Vec<f32> {
    let surest = |token: &Token| token.scores[best(&token.scores)];
    match strategy {
        Strategy::Average => {
            let mut mean = vec![0.0; tokens[0].scores.len()];
            tokens.iter().for_each(|token| mean.iter_mut().zip(&token.scores).for_each(|(mean, score)| *mean += score));
            mean.iter_mut().for_each(|mean| *mean /= tokens.len() as f32);
            mean
        }
        Strategy::Max => {
            let of = tokens.iter().fold(&tokens[0], |of, token| if surest(token) > surest(of) { token } else { of });
            of.scores.clone()
        }
        _ => tokens[0].scores.clone(),
    }
}

/// Neighbours of one label together; `B-` begins a new one. The score is their mean.
fn grouped(entities: Vec<Entity>) -> Vec<Entity> {
    let group = |group: &[Entity]| Entity {
        label: piece_label(&group[0].label).to_owned(),
        score: group.iter().map(|one| one.score).sum::<f32>() / group.len() as f32,
        start: group[0].start,
        end: group[group.len() - 1].end,
        index: None,
    };
    entities.chunk_by(|before, after| joins(&before.label, &after.label)).map(group).collect()
}

/// Of entities that overlap the longer one stays, then the surer.
pub fn without_overlap(mut entities: Vec<Entity>) -> Vec<Entity> {
    entities.sort_by_key(|entity| entity.start);
    let mut kept: Vec<Entity> = Vec::new();
    for entity in entities {
        let length = entity.end - entity.start;
        match kept.last_mut() {
            Some(last) if entity.start < last.end => {
                let before = last.end - last.start;
                if length > before || (length == before && entity.score > last.score) {
                    *last = entity;
                }
            }
            _ => kept.push(entity),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(label: &str, score: f32, start: usize, end: usize) -> Entity {
        Entity { label: label.to_owned(), score, start, end, index: None }
    }

    #[test]
    fn neighbours_join_and_b_begins_anew() {
        let found = grouped(vec![
            entity("B-PER", 0.5, 0, 1),
            entity("I-PER", 1.0, 2, 3),
            entity("B-PER", 0.9, 4, 5),
            entity("I-LOC", 0.9, 6, 7),
            entity("O", 0.9, 8, 9),
        ]);
        let found: Vec<(&str, usize, usize)> = found.iter().map(|e| (e.label.as_str(), e.start, e.end)).collect();
        assert_eq!(found, [("PER", 0, 3), ("PER", 4, 5), ("LOC", 6, 7), ("O", 8, 9)]);
    }

    #[test]
    fn the_longer_stays_then_the_surer() {
        let found = without_overlap(vec![
            entity("A", 0.9, 0, 4),
            entity("B", 0.1, 2, 9),
            entity("C", 0.5, 20, 22),
            entity("D", 0.6, 20, 22),
            entity("E", 0.6, 9, 10),
        ]);
        let found: Vec<&str> = found.iter().map(|entity| entity.label.as_str()).collect();
        assert_eq!(found, ["B", "E", "D"]);
    }
}
