//! A score, a decision and reasons for one row of features.

use super::load::{Loaded, RiskError, fitted};
use crate::config::risk::{Explain, Options};
use crate::function::Prediction;
use crate::scoring::{Decision, DecisionSource, Model, Policy, Reason, Reasons, Rules, ScoreError, Scored, Verdict, decide};
use serde_json::{Map, Value, json};
use std::time::Instant;

pub struct Scorer {
    live: Live,
    policy: Policy,
    shadow: Option<(String, Model)>,
}

/// Whose score it is.
enum Live {
    Model { model: Box<Model>, rules: Option<Rules>, reasons: Reasons },
    Rules(Rules),
}

impl Scorer {
    /// Also the id of what scores, empty when nothing does.
    pub fn new(names: &[&str], options: &Options, loaded: Loaded) -> Result<(String, Option<Self>), RiskError> {
        let Loaded { model, rules, policy, reasons, shadow } = loaded;
        let owned: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let asked = reasons.is_some() || options.explain == Some(Explain::Always);
        let (id, live) = match (model, rules) {
            (None, None) => return Ok((String::new(), None)),
            (None, Some(_)) if asked => {
                return Err(RiskError::Options("reasons explain a model, and there are rules alone; leave them out".into()));
            }
            (None, Some(rules)) => (format!("rules@{:.12}", rules.digest()), Live::Rules(rules)),
            (Some((name, model)), rules) => {
                let model = fitted(&name, model, names)?;
                if let Some(why) = model.unexplained().filter(|_| asked) {
                    return Err(RiskError::Options(format!("[models.{name}] cannot be explained: {why}; leave the reasons out")));
                }
                let reasons = reasons.unwrap_or_else(|| Reasons::plain(&owned));
                reasons.check_features(&owned).map_err(|cause| RiskError::Features { of: "the reasons".into(), cause })?;
                (id_of(&name, &model), Live::Model { model: Box::new(model), rules, reasons })
            }
        };
        let Some(policy) = policy else {
            return Err(RiskError::Options("nothing says what a score leads to; add policy = \"FILE\" with thresholds".into()));
        };
        let shadow = match shadow {
            Some((name, model)) => Some(fitted(&name, model, names).map(|model| (id_of(&name, &model), model))?),
            None => None,
        };
        Ok((id, Some(Self { live, policy, shadow })))
    }

    /// Where the lists look, as dotted paths into the event.
    pub fn entities(&self) -> impl Iterator<Item = &str> {
        self.rules().into_iter().flat_map(Rules::entities)
    }

    fn rules(&self) -> Option<&Rules> {
        match &self.live {
            Live::Model { rules, .. } => rules.as_ref(),
            Live::Rules(rules) => Some(rules),
        }
    }

    pub fn score(&self, row: &[f64], entities: &[(String, String)], options: &Options, into: &mut Prediction) {
        let mut timings = Map::new();
        let started = Instant::now();
        let entities: Vec<(&str, &str)> = entities.iter().map(|(kind, value)| (kind.as_str(), value.as_str())).collect();
        let verdict = self.rules().map(|rules| rules.evaluate(row, &entities));
        let said = verdict.clone().unwrap_or_default();
        let (scored, by) = match &self.live {
            Live::Model { model, .. } => (model.score(row).map_err(|error| describe(error, model)), DecisionSource::Model),
            Live::Rules(rules) => (of_rules(rules, &said), DecisionSource::Rule),
        };
        let (decision, source) = self.decide(&scored, by, &said);
        timings.insert("score".into(), micros(started));

        let fields = &mut into.fields;
        match &scored {
            Ok(Scored { margin, probability }) => {
                fields.insert("margin".into(), (*margin).into());
                fields.insert("probability".into(), (*probability).into());
                fields.insert("score".into(), self.policy.score(*probability).into());
                into.score = Some(*probability);
            }
            Err(why) => {
                fields.insert("status".into(), "degraded".into());
                fields.insert("error".into(), why.as_str().into());
            }
        }
        fields.insert("decision".into(), decision.as_str().into());
        fields.insert("decision_source".into(), json!(source));
        fields.insert("policy".into(), self.policy.version().into());
        if let Some(Verdict { rules, lists }) = verdict {
            fields.insert("rules".into(), json!(rules));
            if !lists.is_empty() {
                fields.insert("lists".into(), json!(lists));
            }
        }
        let started = Instant::now();
        if let Some(reasons) = self.reasons(row, decision, options) {
            fields.insert("reasons".into(), json!(reasons));
            timings.insert("explain".into(), micros(started));
        }
        let started = Instant::now();
        if let Some((id, model)) = &self.shadow {
            fields.insert("shadow".into(), self.shadow(id, model, row, &said));
            timings.insert("shadow".into(), micros(started));
        }
        if options.timings {
            fields.insert("timings_us".into(), timings.into());
        }
        into.label = Some(decision.as_str().into());
    }

    fn decide(&self, scored: &Result<Scored, String>, by: DecisionSource, said: &Verdict) -> (Decision, DecisionSource) {
        let score = scored.as_ref().ok().map(|scored| self.policy.score(scored.probability));
        decide(&self.policy, score, by, said)
    }

    fn reasons(&self, row: &[f64], decision: Decision, options: &Options) -> Option<Vec<Reason>> {
        let wanted = match options.explain.unwrap_or_default() {
            Explain::Always => true,
            Explain::Review => decision >= Decision::Review,
            Explain::Never => false,
        };
        match &self.live {
            Live::Model { model, reasons, .. } if wanted => {
                Some(reasons.top(&model.contributions(row)?, row, options.top_reasons))
            }
            _ => None,
        }
    }

    /// What the other model says, and what would have been decided by it.
    fn shadow(&self, id: &str, model: &Model, row: &[f64], said: &Verdict) -> Value {
        let scored = model.score(row).map_err(|error| describe(error, model));
        let (decision, _) = self.decide(&scored, DecisionSource::Model, said);
        match scored {
            Ok(Scored { probability, .. }) => {
                json!({ "model": id, "probability": probability, "score": self.policy.score(probability), "decision": decision })
            }
            Err(why) => json!({ "model": id, "error": why, "decision": decision }),
        }
    }
}

/// Finite weights may have an infinite sum.
fn of_rules(rules: &Rules, said: &Verdict) -> Result<Scored, String> {
    let scored = rules.score(said);
    if scored.margin.is_finite() {
        Ok(scored)
    } else {
        Err("the weights of the rules have no finite sum; make them smaller".into())
    }
}

/// `name@digest12`.
fn id_of(name: &str, model: &Model) -> String {
    format!("{name}@{:.12}", model.digest())
}

fn describe(error: ScoreError, model: &Model) -> String {
    match error {
        ScoreError::Missing(at) => match model.names().get(at) {
            Some(name) => format!("{name}: {error}"),
            None => error.to_string(),
        },
        other => other.to_string(),
    }
}

fn micros(since: Instant) -> Value {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX).into()
}
