//! Rules and lists of the user's, alone or beside a model.
//!
//! ```toml
//! version = "2026-03"
//! base = -4.0                    # log-odds when no rule fires; default -4 (1.8 %)
//!
//! [[list]]
//! id = "blocked_cards"
//! kind = "deny"                  # deny: decline, whatever else is said; allow: approve, unless a deny list says no
//! entity = "card"
//! values = ["4711"]
//!
//! [[rule]]
//! id = "large_at_night"
//! version = 2
//! when = [{ feature = "amount", gt = 220.0 }, { any = [{ feature = "night", eq = 1.0 }, { feature = "age_s", missing = true }] }]
//! weight = 1.5                   # log-odds
//! outcome = "review"
//! ```
//!
//! Tests: `gt`, `ge`, `lt`, `le`, `eq`, `ne`, `in = [..]`, `between = [a, b]` (both ends included), `missing = true | false`; groups:
//! `all`, `any`, `not`. A test of a feature without a value has *failed*: it is neither true nor false, and what depends on it has
//! failed too, is recorded as such, adds no weight and gives no outcome. `missing` never fails.
//!
//! Alone, the margin is `base` and the weights of the rules that fired, and the probability is `1 / (1 + exp(-margin))`: a rules
//! table is a linear model whose features are its rules. Beside a model the model's probability stands, the weights are recorded,
//! and rules act by their outcome: the strongest outcome wins.

mod condition;
#[cfg(test)]
mod tests;

use super::error::{Fault, LoadError};
use super::link::logistic;
use super::{Decision, Scored, digest, settings};
use condition::{Condition, Failed, Written};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::Path;

/// Log-odds when no rule fires, if not said otherwise.
const BASE: f64 = -4.0;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    base: Option<f64>,
    #[serde(default)]
    list: Vec<WrittenList>,
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenList {
    id: String,
    kind: ListKind,
    entity: String,
    values: HashSet<Box<str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    id: String,
    version: u32,
    when: Vec<Written>,
    #[serde(default)]
    weight: f64,
    outcome: Option<Decision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListKind {
    Allow,
    Deny,
}

#[derive(Debug)]
struct Rule {
    id: String,
    version: u32,
    when: Condition,
    weight: f64,
    outcome: Option<Decision>,
}

/// A table of rules, bound to the features that it reads.
#[derive(Debug)]
pub struct Rules {
    version: String,
    digest: String,
    base: f64,
    lists: Vec<WrittenList>,
    rules: Vec<Rule>,
    names: Vec<String>,
}

/// A rule that fired, or that failed: then there is an error, and neither weight nor outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleResult {
    pub id: String,
    pub version: u32,
    pub outcome: Option<Decision>,
    pub weight: f64,
    pub error: Option<String>,
}

/// A list that holds the entity, or that could not be asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ListResult {
    pub id: String,
    pub kind: ListKind,
    pub entity: String,
    pub error: Option<String>,
}

/// What the rules say of one event. Rules that are false and lists without the entity are not in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Verdict {
    pub rules: Vec<RuleResult>,
    pub lists: Vec<ListResult>,
}

impl Rules {
    /// `names` are the declared features.
    pub fn load(path: &Path, names: &[String]) -> Result<Self, LoadError> {
        settings::load(path, |text| Self::parse(text, names))
    }

    pub fn parse(text: &str, names: &[String]) -> Result<Self, Fault> {
        let File { version, base, list: lists, rule } = settings::parse(text)?;
        settings::version(&version)?;
        let base = base.unwrap_or(BASE);
        if !base.is_finite() {
            return Err(Fault::unsupported("base", format!("it is {base}"), "give log-odds, for example -4.0"));
        }
        let mut seen = HashSet::new();
        for id in rule.iter().map(|rule| &rule.id).chain(lists.iter().map(|list| &list.id)) {
            if id.trim().is_empty() || !seen.insert(id) {
                return Err(Fault::unsupported(
                    "",
                    format!("the id {id:?} is empty or stands there twice"),
                    "give each its own id",
                ));
            }
        }
        if let Some(list) = lists.iter().find(|list| list.entity.trim().is_empty()) {
            return Err(Fault::unsupported(format!("list {:?}", list.id), "its entity is empty", "name the kind of entity"));
        }
        let rules = rule.iter().map(|rule| Rule::of(rule, names)).collect::<Result<_, _>>()?;
        Ok(Self { version, digest: digest::sha256(text.as_bytes()), base, lists, rules, names: names.to_vec() })
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// How many rules and lists there are.
    pub fn len(&self) -> (usize, usize) {
        (self.rules.len(), self.lists.len())
    }

    /// The kinds of entity that the lists hold.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.lists.iter().map(|list| list.entity.as_str())
    }

    /// What the rules say of a row and of the event's entities, (kind, value) each.
    pub fn evaluate(&self, row: &[f64], entities: &[(&str, &str)]) -> Verdict {
        let rules = self.rules.iter().filter_map(|rule| {
            let (weight, outcome, error) = match rule.when.holds(row) {
                Ok(false) => return None,
                Ok(true) => (rule.weight, rule.outcome, None),
                Err(Failed(at)) => (0.0, None, Some(format!("the feature {:?} has no value", self.names[at]))),
            };
            Some(RuleResult { id: rule.id.clone(), version: rule.version, outcome, weight, error })
        });
        let lists = self.lists.iter().filter_map(|list| {
            let mut values = entities.iter().filter(|(kind, _)| *kind == list.entity).map(|(_, value)| *value).peekable();
            let error = values.peek().is_none().then(|| format!("the event names no {:?}", list.entity));
            let hit = values.any(|value| list.values.contains(value));
            let result =
                || ListResult { id: list.id.clone(), kind: list.kind, entity: list.entity.clone(), error: error.clone() };
            (hit || error.is_some()).then(result)
        });
        Verdict { rules: rules.collect(), lists: lists.collect() }
    }

    /// The score of the rules alone.
    pub fn score(&self, verdict: &Verdict) -> Scored {
        let margin = self.base + verdict.weight();
        Scored { margin, probability: logistic(margin) }
    }
}

impl Rule {
    fn of(written: &WrittenRule, names: &[String]) -> Result<Self, Fault> {
        let WrittenRule { id, version, when, weight, outcome } = written;
        let place = format!("rule {id:?}");
        if !weight.is_finite() || (*weight == 0.0 && outcome.is_none()) {
            return Err(Fault::unsupported(&place, "it has neither a weight nor an outcome", "give it one of them"));
        }
        let when = Condition::all(when, names, &place)?;
        Ok(Self { id: id.clone(), version: *version, when, weight: *weight, outcome: *outcome })
    }
}

impl Verdict {
    /// The sum of the weights of the rules that fired.
    pub fn weight(&self) -> f64 {
        self.rules.iter().map(|rule| rule.weight).sum()
    }

    /// The strongest outcome of the rules that fired.
    pub fn outcome(&self) -> Option<Decision> {
        self.rules.iter().filter_map(|rule| rule.outcome).max()
    }

    /// What the lists say: deny wins, and an allow list counts only when every list could be asked.
    pub fn list(&self) -> Option<ListKind> {
        let hit = |kind| self.lists.iter().any(|list| list.error.is_none() && list.kind == kind);
        match (hit(ListKind::Deny), hit(ListKind::Allow), self.lists.iter().any(|list| list.error.is_some())) {
            (true, ..) => Some(ListKind::Deny),
            (false, true, false) => Some(ListKind::Allow),
            _ => None,
        }
    }

    /// Whether a rule or a list could not be evaluated.
    pub fn failed(&self) -> bool {
        self.rules.iter().any(|rule| rule.error.is_some()) || self.lists.iter().any(|list| list.error.is_some())
    }
}
