//! One decision out of a score, rules and lists.

use super::rules::{ListKind, Verdict};
use super::{Decision, DecisionSource, Policy};

/// A deny list declines and an allow list approves, whatever else is said. Else the strongest outcome wins: of the score, or of the
/// policy's fallback when there is no score, and of the rules; the rules are named as the source only when they said more.
/// `scored_by` is whose score it is: a model's, or that of the rules alone.
pub fn decide(policy: &Policy, score: Option<u16>, scored_by: DecisionSource, verdict: &Verdict) -> (Decision, DecisionSource) {
    match verdict.list() {
        Some(ListKind::Deny) => return (Decision::Decline, DecisionSource::List),
        Some(ListKind::Allow) => return (Decision::Approve, DecisionSource::List),
        None => {}
    }
    let by_score = match score {
        Some(score) => (policy.decide(score), scored_by),
        None => (policy.fallback(), DecisionSource::Fallback),
    };
    match verdict.outcome() {
        Some(outcome) if outcome > by_score.0 => (outcome, DecisionSource::Rule),
        _ => by_score,
    }
}
