//! A pipeline without its services: events as they stand in the log go through its decoder, its fold and its function, and nothing is written.

use super::decoding::{Decoded, Decoding};
use crate::config::{Config, Pipeline};
use crate::event::{RawEvent, Rejection};
use crate::function::{Function, Input, Outcome, halve};
use crate::inference::Registry;
use crate::worker::folds::Past;
use crate::worker::{Own, folds};
use anyhow::{Context, bail};
use std::sync::Arc;

/// See the module.
pub struct Rig {
    pub function: Arc<dyn Function>,
    pub decoding: Decoding,
    fresh: Box<dyn Fn() -> Option<Past> + Send + Sync>,
}

impl Rig {
    /// Loads the model. Blocks while it does.
    pub fn load(config: &Config, pipeline: &Pipeline, registry: &Registry, own: &Own) -> anyhow::Result<Self> {
        let function = own.function(config, pipeline, registry).with_context(|| format!("pipeline `{}`", pipeline.name))?;
        Self::with(config, pipeline, function)
    }

    /// The same with a function that is loaded.
    pub fn with(config: &Config, pipeline: &Pipeline, function: Arc<dyn Function>) -> anyhow::Result<Self> {
        let decoding = Decoding::of(config, pipeline)?;
        let (config, pipeline) = (config.clone(), pipeline.clone());
        Ok(Self { function, decoding, fresh: Box::new(move || folds::past(&config, &pipeline)) })
    }

    /// Empty states, where the pipeline has a fold.
    pub fn past(&self) -> Option<Past> {
        (self.fresh)()
    }

    /// Decodes an event and folds it.
    pub fn input(&self, past: &mut Option<Past>, raw: RawEvent) -> anyhow::Result<Result<Input, Rejection>> {
        self.fold(past, self.decoding.decode(raw)?)
    }

    /// The same for an event whose payload is written as JSON, whatever the pipeline's values are.
    pub fn written(&self, past: &mut Option<Past>, raw: RawEvent) -> anyhow::Result<Result<Input, Rejection>> {
        self.fold(past, self.decoding.decode_json(raw))
    }

    fn fold(&self, past: &mut Option<Past>, decoded: Decoded) -> anyhow::Result<Result<Input, Rejection>> {
        let event = match decoded {
            Ok(event) => event,
            Err((_, rejection)) => return Ok(Err(rejection)),
        };
        let Some(past) = past else { return Ok(Ok(Input::plain(event))) };
        Ok(past.advance(&event)?.map(|features| Input { event, features: Some(features) }))
    }

    /// One outcome an input, in order. An event on which the function fails is refused as on the stream, and spoils no other.
    pub async fn call(&self, inputs: Vec<Result<Input, Rejection>>) -> anyhow::Result<Vec<Outcome>> {
        let most = self.function.spec().limits.slice.max(1);
        let (mut good, mut outcomes) = (Vec::new(), Vec::with_capacity(inputs.len()));
        for input in inputs {
            match input {
                Ok(input) => {
                    good.push(input);
                    outcomes.push(None);
                }
                Err(rejection) => outcomes.push(Some(Outcome::Reject(rejection))),
            }
        }
        let mut called = Vec::with_capacity(good.len());
        for slice in good.chunks(most) {
            called.extend(halve::each(slice.len(), |part| self.function.call(&slice[part]), Outcome::Reject).await?);
        }
        let mut called = called.into_iter();
        let outcomes: Option<Vec<Outcome>> = outcomes.into_iter().map(|known| known.or_else(|| called.next())).collect();
        match outcomes {
            Some(outcomes) => Ok(outcomes),
            None => bail!("the function gave fewer outcomes than inputs"),
        }
    }
}
