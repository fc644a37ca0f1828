//! The shape that the text functions share: a task says what it asks, answers and emits; [`TextFunction`] makes of it a function
//! for streams, `millrace call`, HTTP and Rust. One outcome an input, in order, whatever was wrong with its neighbours.

use super::fields::{Fields, Places};
use super::model::Opened;
use super::options::{self, Common};
use super::requests::{About, BadParameter, Requests};
use super::texts::TextOptions;
use super::{CallError, Function, Input, Limits, Outcome, Prediction, Spec, passed, schema};
use crate::event::Rejection;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// The time is what two events of `EVENT_TOKENS` take together on a model and processor that read some 700 tokens in a second.
pub const LIMITS: Limits = Limits { slice: 256, calls_in_flight: 2, timeout: Duration::from_secs(600) };

/// Tokens of one event at most; one that costs more is refused.
const EVENT_TOKENS: usize = 200_000;

/// Tokens of a call with several events at most; what costs more together is called in halves.
const CALL_TOKENS: usize = 100_000;

/// Items of a list in an input at most, such as sentences or labels.
pub const MAX_ITEMS: usize = 1_000;

/// Texts that are in work together at most; a text counts once more for each KiB.
const GROUP: usize = 2_048;

/// One text function.
pub trait Task: Send + Sync + Sized + 'static {
    const NAME: &'static str;
    const VERSION: u32;
    /// Fields of an input; a plain text is the first.
    const FIELDS: &'static [&'static str];
    /// Options that one request may change.
    const PARAMETERS: &'static [&'static str];
    /// What must be open before it can work.
    type Model: Opened;
    type Options: DeserializeOwned + Serialize + Default;
    /// What is asked about one input.
    type Ask: Clone + Send + Sync;
    type Answer: Send;

    /// The error says what to change, in the options or the model.
    fn new(model: Arc<Self::Model>, options: Self::Options) -> Result<Self, String>;

    /// The same with other options; what was computed once is kept.
    fn with(&self, options: Self::Options) -> Result<Self, String> {
        Self::new(self.model().clone(), options)
    }

    fn model(&self) -> &Arc<Self::Model>;

    /// What one call may take.
    fn limits(&self) -> Limits {
        LIMITS
    }

    /// See [`Function::labels`].
    fn labels(&self) -> Vec<String> {
        Vec::new()
    }

    /// Paths in an event that are read beside the fields.
    fn paths(&self) -> Vec<String> {
        Vec::new()
    }

    /// Why an event is passed over without a call, such as what the pipeline's fold alone needs; a word for a metric.
    fn skip(&self, input: &Input) -> Option<&'static str> {
        let _ = input;
        None
    }

    /// What one event asks.
    fn ask(&self, fields: &Fields<'_>) -> Result<Self::Ask, Rejection>;

    /// The texts of what is asked, by field and place in a list, to be checked: none may be empty, too long or hold U+0000.
    fn texts(ask: &Self::Ask) -> Vec<(&'static str, Option<usize>, &str)>;

    /// Tokens that the network sees for it, roughly and rather too many. By default each text is cut where the model ends.
    fn cost(&self, ask: &Self::Ask) -> usize {
        let most = self.model().max_tokens();
        Self::texts(ask).iter().map(|(_, _, text)| tokens(text).min(most)).sum()
    }

    /// One answer or refusal for each, in order.
    fn answer(
        &self,
        asks: Vec<Self::Ask>,
    ) -> impl Future<Output = Result<Vec<Result<Self::Answer, Rejection>>, CallError>> + Send;

    fn prediction(&self, answer: Self::Answer) -> Prediction;

    /// See [`Requests::bare`].
    fn bare(fields: &Value) -> Value;

    /// An input that is answered.
    fn example(&self) -> Value;
}

/// A task as a function.
pub struct TextFunction<T> {
    spec: Spec,
    task: T,
    common: Common,
    places: Places,
    /// As they were given.
    options: Map<String, Value>,
}

impl<T: Task> TextFunction<T> {
    /// Uses an open model; the error says what to change.
    pub fn new(model: Arc<T::Model>, options: &Map<String, Value>) -> Result<Self, String> {
        Self::build(options, |own| T::new(model, own))
    }

    /// Around a task that `make` builds of its own options; for tasks that need more than a model.
    pub fn build(options: &Map<String, Value>, make: impl FnOnce(T::Options) -> Result<T, String>) -> Result<Self, String> {
        let (common, own) = options::read::<T::Options>(T::NAME, T::FIELDS, options)?;
        let task = make(own).map_err(|cause| format!("{}: {cause}", T::NAME))?;
        let spec = Spec { name: T::NAME, version: T::VERSION, model: task.model().id().to_owned(), limits: task.limits() };
        let places = Places::new(T::FIELDS, &common.fields).with_paths(&task.paths());
        Ok(Self { spec, task, common, places, options: options.clone() })
    }

    /// Around a task of default options.
    pub fn of(task: T) -> Self {
        let spec = Spec { name: T::NAME, version: T::VERSION, model: task.model().id().to_owned(), limits: task.limits() };
        let places = Places::new(T::FIELDS, &Common::default().fields).with_paths(&task.paths());
        Self { spec, task, common: Common::default(), places, options: Map::new() }
    }

    /// The same with some options changed.
    pub fn changed(&self, parameters: &Map<String, Value>) -> Result<Self, BadParameter> {
        if let Some(name) = parameters.keys().find(|name| !T::PARAMETERS.contains(&name.as_str())) {
            return Err(BadParameter::unknown(T::NAME, name, T::PARAMETERS));
        }
        let mut options = self.options.clone();
        options.extend(parameters.clone());
        Self::build(&options, |own| self.task.with(own)).map_err(|message| {
            let named = parameters.keys().find(|name| message.contains(&format!("`{name}`")));
            let name = named.or_else(|| parameters.keys().next()).cloned().unwrap_or_default();
            BadParameter { name, message }
        })
    }

    pub fn task(&self) -> &T {
        &self.task
    }

    /// Answers what is asked, in order; what was refused before, or is refused now, keeps its place.
    pub async fn answer(&self, asks: Vec<Result<T::Ask, Rejection>>) -> Result<Vec<Result<T::Answer, Rejection>>, CallError> {
        let (mut good, mut places) = (Vec::with_capacity(asks.len()), Vec::with_capacity(asks.len()));
        let mut cost = 0;
        for ask in asks {
            let checked = ask.and_then(|ask| check(&self.common.texts, &T::texts(&ask)).map(|()| ask));
            let checked = checked.and_then(|ask| match self.task.cost(&ask) {
                own @ 0..=EVENT_TOKENS => {
                    cost += own;
                    Ok(ask)
                }
                more => Err(too_expensive(more)),
            });
            places.push(checked.map(|ask| good.push(ask)));
        }
        if cost > CALL_TOKENS && good.len() > 1 {
            return Err(CallError::TooMuch(format!("about {cost} tokens together; the limit is {CALL_TOKENS}")));
        }
        let mut answers = self.in_groups(good).await?.into_iter();
        let place = |place: Result<(), Rejection>| match place {
            Ok(()) => answers.next().ok_or_else(missing_answer),
            Err(refused) => Ok(Err(refused)),
        };
        places.into_iter().map(place).collect()
    }
}

impl<T: Task> TextFunction<T> {
    /// Some at a time, so that a slice of long texts or lists needs no more memory than one of short ones.
    async fn in_groups(&self, asks: Vec<T::Ask>) -> Result<Vec<Result<T::Answer, Rejection>>, CallError> {
        let mut answers = Vec::with_capacity(asks.len());
        let (mut group, mut cost) = (Vec::new(), 0);
        for ask in asks {
            let own: usize = T::texts(&ask).iter().map(|(_, _, text)| 1 + text.len() / 1024).sum();
            if cost + own > GROUP && !group.is_empty() {
                answers.extend(self.task.answer(std::mem::take(&mut group)).await?);
                cost = 0;
            }
            cost += own;
            group.push(ask);
        }
        if !group.is_empty() {
            answers.extend(self.task.answer(group).await?);
        }
        Ok(answers)
    }
}

impl<T: Task> Function for TextFunction<T> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        Box::pin(async move {
            let skipped: Vec<Option<&'static str>> = slice.iter().map(|input| self.task.skip(input)).collect();
            let ask = |input| self.places.of(input).and_then(|fields| self.task.ask(&fields));
            let asked = slice.iter().zip(&skipped).filter(|(_, skipped)| skipped.is_none());
            let mut answers = self.answer(asked.map(|(input, _)| ask(input)).collect()).await?.into_iter();
            let mut outcomes = Vec::with_capacity(slice.len());
            for skipped in skipped {
                outcomes.push(match skipped {
                    Some(word) => Outcome::Skip(word),
                    None => match answers.next().ok_or_else(missing_answer)? {
                        Ok(answer) => Outcome::Emit(vec![self.task.prediction(answer)]),
                        Err(refused) => Outcome::Reject(self.places.located(refused)),
                    },
                });
            }
            Ok(passed::add(slice, outcomes, self.common.texts.pass_event, &self.common.texts.output_key))
        })
    }

    fn labels(&self) -> Vec<String> {
        self.task.labels()
    }

    fn requests(&self) -> Option<&dyn Requests> {
        Some(self)
    }
}

impl<T: Task> Requests for TextFunction<T> {
    fn about(&self) -> About {
        About {
            fields: T::FIELDS,
            parameters: T::PARAMETERS,
            options: options::shown::<T::Options>(&self.options),
            example: self.task.example(),
        }
    }

    fn tuned(&self, parameters: &Map<String, Value>) -> Result<Arc<dyn Function>, BadParameter> {
        Ok(Arc::new(self.changed(parameters)?))
    }

    fn bare(&self, fields: &Value) -> Value {
        T::bare(fields)
    }

    fn types(&self) -> Map<String, Value> {
        schema::types::<T::Options>()
    }
}

/// Tokens of a text, guessed from its bytes: an English token has four to five, and one of three bytes is a letter of its own elsewhere.
pub fn tokens(text: &str) -> usize {
    2 + text.len() / 3
}

/// Tokens of a text read in windows of `most`, each with `beside` more, which overlap by `stride`.
pub fn windowed(text: usize, beside: usize, most: usize, stride: usize) -> usize {
    let room = most.saturating_sub(beside).max(1);
    if text <= room { text + beside } else { text.div_ceil(room.saturating_sub(stride).max(1)).saturating_mul(most) }
}

fn missing_answer() -> CallError {
    CallError::Fatal("the model gave fewer answers than it was asked for".to_owned())
}

fn too_expensive(cost: usize) -> Rejection {
    let detail = format!("its texts and labels take about {cost} tokens of the model; the limit for one event is {EVENT_TOKENS}");
    Rejection::new("too_expensive", detail)
}

/// The first thing that is wrong with some texts. Never tells what they hold.
pub fn check(limits: &TextOptions, texts: &[(&'static str, Option<usize>, &str)]) -> Result<(), Rejection> {
    for (field, place, text) in texts {
        let at = || place.map_or_else(|| (*field).to_owned(), |place| format!("{field}.{place}"));
        let refused = if text.trim().is_empty() {
            Some(Rejection::new("empty_text", "the text is empty or only white space"))
        } else if text.contains('\0') {
            Some(passed::nul())
        } else {
            limits.check(text)
        };
        if let Some(refused) = refused {
            return Err(refused.at(at()));
        }
    }
    Ok(())
}

/// Refuses a list that is empty or too long.
pub fn check_list(field: &'static str, count: usize) -> Result<(), Rejection> {
    match count {
        0 => Err(Rejection::new("empty_list", "the list is empty; it must have one item or more").at(field)),
        1..=MAX_ITEMS => Ok(()),
        more => Err(Rejection::new("too_many_items", format!("{more} items; the limit is {MAX_ITEMS}")).at(field)),
    }
}
