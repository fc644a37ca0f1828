//! The folds of the functions that have one: on the stream, and off it.

use crate::config::{Config, EventKind, Pipeline};
use crate::event::{Decoder, Event, Rejection};
use crate::function::offline::{self, Keyed, Mapped, Offline, Plain};
use crate::pipeline::Folding;
use crate::state::dialogue::DialogueFold;
use crate::state::recommend::RecommendFold;
use crate::state::risk::RiskFold;
use crate::state::{At, Cache, Facts, Features, Fold, Forgetting, States, Step, WrongFacts};
use anyhow::{Context, bail};
use std::sync::Arc;

/// What a pipeline remembers of each key, when its function has a fold.
pub fn folding(config: &Config, pipeline: &Pipeline) -> Option<Folding> {
    fn of<F: Fold>(fold: F, pipeline: &Pipeline) -> Folding {
        let (fold, flush_after) = (Arc::new(fold), pipeline.flush_after);
        Folding {
            digest: fold.digest().into(),
            fresh: Arc::new(move || Box::new(Cache::new(fold.clone(), flush_after))),
            bytes: pipeline.state_bytes,
            flush_after,
        }
    }
    let risk = config.risk_of(pipeline).map(|risk| of(RiskFold::new(risk), pipeline));
    let recommend = || config.recommend_of(pipeline).map(|recommend| of(RecommendFold::new(recommend), pipeline));
    let dialogue = || {
        dialogue(config, pipeline).map(|(fold, after_ms)| match after_ms {
            Some(after_ms) => of(Forgetting::new(fold, after_ms), pipeline),
            None => of(fold, pipeline),
        })
    };
    risk.or_else(recommend).or_else(dialogue)
}

/// The fold, and after how much event time it forgets.
fn dialogue(config: &Config, pipeline: &Pipeline) -> Option<(DialogueFold, Option<i64>)> {
    let dialogue = config.dialogue_of(pipeline)?;
    let fold = DialogueFold::new(dialogue, pipeline.event, &pipeline.fields);
    Some((fold, dialogue.forget_after.map(|after| after.ms())))
}

/// The empty states of a partition that is folded again, to look at.
pub struct Past {
    pub digest: String,
    /// Nothing is written and nothing leaves memory.
    pub states: Box<dyn States>,
    /// Tells the keys of an event; nothing is ever folded into it.
    pub names: Box<dyn States>,
    /// Whether an event may reach states of keys that it does not name; see [`Fold::links`].
    pub links: bool,
}

/// `None` for a function without a fold.
pub fn past(config: &Config, pipeline: &Pipeline) -> Option<Past> {
    fn of<F: Fold>(fold: F) -> Past {
        let fold = Arc::new(fold);
        let empty = || Box::new(Cache::new(fold.clone(), i64::MAX));
        Past { digest: fold.digest().to_owned(), states: empty(), names: empty(), links: fold.links() }
    }
    let risk = config.risk_of(pipeline).map(|risk| of(RiskFold::new(risk)));
    let recommend = || config.recommend_of(pipeline).map(|recommend| of(RecommendFold::new(recommend)));
    let dialogue = || {
        dialogue(config, pipeline).map(|(fold, after_ms)| match after_ms {
            Some(after_ms) => of(Forgetting::new(fold, after_ms)),
            None => of(fold),
        })
    };
    risk.or_else(recommend).or_else(dialogue)
}

impl Past {
    /// Folds an event, and tells its features; or why it cannot be folded.
    pub fn advance(&mut self, event: &Event) -> anyhow::Result<Result<Features, Rejection>> {
        step(&mut *self.states, event, |states, facts, at| states.advance(facts, at))
    }
}

/// Folds an event into states of which nothing is stored.
pub fn step(
    states: &mut dyn States,
    event: &Event,
    how: fn(&mut dyn States, &mut Facts, At) -> Result<Step, WrongFacts>,
) -> anyhow::Result<Result<Features, Rejection>> {
    let mut facts = match states.read(event) {
        Ok(facts) => facts,
        Err(rejection) => return Ok(Err(rejection)),
    };
    let at = At { time_ms: event.event_time_ms, offset: event.raw.position.offset };
    // Ring one, then ring two.
    for _ in 0..3 {
        match how(states, &mut facts, at)? {
            Step::Ready(features) => return Ok(Ok(features)),
            Step::Missing(keys) => {
                keys.iter().try_for_each(|key| states.load(key, None)).with_context(|| format!("{}", event.raw.position))?;
            }
        }
    }
    bail!("the fold asks for the same keys again and again at {}, which is a defect of it", event.raw.position)
}

/// How JSON values become what the pipeline's function scores, off the stream.
pub fn offline(config: &Config, pipeline: &Pipeline) -> Arc<dyn Offline> {
    let decoder = || Decoder::new(pipeline.event, pipeline.paths(), config.limits_of(pipeline).clone());
    if let Some(declared) = config.risk_of(pipeline).cloned() {
        return Arc::new(offline::Folding::new(decoder(), move || RiskFold::new(&declared)));
    }
    if let Some(declared) = config.dialogue_of(pipeline).cloned() {
        let (kind, fields) = (pipeline.event, pipeline.paths());
        let named = |path: &Option<String>, usual: &str| match kind {
            EventKind::Json => path.clone().unwrap_or_else(|| usual.to_owned()),
            _ => usual.to_owned(),
        };
        let (key, alone) = (named(&fields.key, "conversation"), Mapped { path: named(&fields.text, "text") });
        let after_ms = declared.forget_after.map(|after| after.ms());
        let fold = move || DialogueFold::new(&declared, kind, &fields);
        return match after_ms {
            Some(after_ms) => {
                let folding = offline::Folding::new(decoder(), move || Forgetting::new(fold(), after_ms));
                Arc::new(Keyed { folding, key, alone })
            }
            None => Arc::new(Keyed { folding: offline::Folding::new(decoder(), fold), key, alone }),
        };
    }
    match config.recommend_of(pipeline).cloned() {
        Some(declared) => Arc::new(offline::Folding::new(decoder(), move || RecommendFold::new(&declared))),
        None => match &pipeline.fields.text {
            Some(path) => Arc::new(Mapped { path: path.clone() }),
            None => Arc::new(Plain),
        },
    }
}
