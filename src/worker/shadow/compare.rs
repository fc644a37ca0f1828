//! What a champion and a challenger said of the same event, held against each other.

use crate::function::{Outcome, Prediction};
use crate::telemetry::OTHER;
use std::collections::BTreeSet;

/// What was said of one event, without its fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Said(Vec<Said>),
    Skipped,
    Refused,
}

/// One prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    pub label: Option<Box<str>>,
    /// Finite, or none.
    pub score: Option<f64>,
}

impl Answer {
    pub fn of(outcome: &Outcome) -> Self {
        let said = |prediction: &Prediction| Said {
            label: prediction.label.clone(),
            score: prediction.score.filter(|score| score.is_finite()),
        };
        match outcome {
            Outcome::Emit(predictions) => Self::Said(predictions.iter().map(said).collect()),
            Outcome::Skip(_) => Self::Skipped,
            Outcome::Reject(_) => Self::Refused,
        }
    }

    fn said(&self) -> &[Said] {
        match self {
            Self::Said(all) => all,
            Self::Skipped | Self::Refused => &[],
        }
    }

    /// Where no prediction is: what the event came to.
    fn ending(&self) -> &'static str {
        match self {
            Self::Said(_) => "no_prediction",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

/// Where two answers differ: by the words that may be shown, and what each said there.
#[derive(Debug, Clone, PartialEq)]
pub struct Flip<'a> {
    pub champion: (&'a str, Option<&'a Said>),
    pub challenger: (&'a str, Option<&'a Said>),
}

/// How answers are compared.
#[derive(Debug, Clone)]
pub struct Rule {
    /// From this score on the decision is another.
    pub threshold: Option<f64>,
    /// Labels that may be shown by name.
    pub labels: BTreeSet<String>,
}

impl Rule {
    /// The first place where the two differ: in a label, in the decision by the threshold, or in what became of the event.
    pub fn flip<'a>(&'a self, champion: &'a Answer, challenger: &'a Answer) -> Option<Flip<'a>> {
        let (ours, theirs) = (champion.said(), challenger.said());
        let pairs = (0..ours.len().max(theirs.len())).map(|n| (ours.get(n), theirs.get(n)));
        for (one, other) in pairs {
            let (Some(said), Some(told)) = (one, other) else {
                let word = |side: Option<&'a Said>, answer: &Answer| side.map_or(answer.ending(), |said| self.word(said));
                return Some(Flip { champion: (word(one, champion), one), challenger: (word(other, challenger), other) });
            };
            if said.label != told.label {
                return Some(Flip { champion: (self.word(said), one), challenger: (self.word(told), other) });
            }
            let (here, there) = (self.decision(said), self.decision(told));
            if here != there {
                return Some(Flip { champion: (here, one), challenger: (there, other) });
            }
        }
        let differs = ours.is_empty() && champion != challenger;
        differs.then(|| Flip { champion: (champion.ending(), None), challenger: (challenger.ending(), None) })
    }

    /// Scores of the predictions that both have.
    pub fn scores(champion: &Answer, challenger: &Answer) -> Vec<(f64, f64)> {
        let pairs = champion.said().iter().zip(challenger.said());
        pairs.filter_map(|(one, other)| Some((one.score?, other.score?))).collect()
    }

    fn word<'a>(&self, said: &'a Said) -> &'a str {
        match &said.label {
            Some(label) if self.labels.contains(&**label) => label,
            Some(_) => OTHER,
            None => self.decision(said),
        }
    }

    fn decision(&self, said: &Said) -> &'static str {
        match (self.threshold, said.score) {
            (Some(threshold), Some(score)) if score >= threshold => "at_least",
            (Some(_), Some(_)) => "below",
            (Some(_), None) => "no_score",
            (None, _) => "no_label",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(label: &str, score: f64) -> Answer {
        Answer::Said(vec![Said { label: Some(label.into()), score: Some(score) }])
    }

    /// Would catch: a flip that is not seen or not there, a label of an event that becomes the name of a metric, an ending that equals
    /// another one.
    #[test]
    fn labels_decisions_and_endings_are_compared() {
        let rule = Rule { threshold: None, labels: ["good", "bad"].map(str::to_owned).into() };
        let words = |rule: &Rule, one: &Answer, other: &Answer| {
            rule.flip(one, other).map(|flip| format!("{} {}", flip.champion.0, flip.challenger.0))
        };
        let (good, bad) = (said("good", 0.9), said("bad", 0.4));
        assert_eq!(words(&rule, &good, &said("good", 0.1)), None);
        assert_eq!(words(&rule, &good, &bad).as_deref(), Some("good bad"));
        assert_eq!(words(&rule, &good, &said("what he said", 0.4)).as_deref(), Some("good other"));
        assert_eq!(words(&rule, &good, &Answer::Refused).as_deref(), Some("good refused"));
        assert_eq!(words(&rule, &Answer::Skipped, &Answer::Said(Vec::new())).as_deref(), Some("skipped no_prediction"));
        assert_eq!(words(&rule, &Answer::Skipped, &Answer::Skipped), None);
        let both = Answer::Said([&good, &bad].iter().flat_map(|answer| answer.said().to_vec()).collect());
        assert_eq!(words(&rule, &both, &good).as_deref(), Some("bad no_prediction"));
        let by_score = Rule { threshold: Some(0.5), ..rule };
        assert_eq!(words(&by_score, &good, &said("good", 0.1)).as_deref(), Some("at_least below"));
        assert_eq!(words(&by_score, &good, &said("good", 0.5)), None);
        assert_eq!(Rule::scores(&both, &bad), [(0.9, 0.4)]);
    }
}
