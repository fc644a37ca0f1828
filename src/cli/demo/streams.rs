//! The streams that are played: what is sent, how it must end, and what is seen of it.

use super::view::View;
use super::{chat, clicks, transactions};
use crate::cli::common::Usage;
use crate::config::Config;
use crate::record::Mode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Days of payments that are there before the show begins: as far back as the features look.
pub const HISTORY_DAYS: u32 = 30;

/// A record for an input topic.
#[derive(Debug, Clone)]
pub struct Message {
    pub key: String,
    pub body: String,
    pub ends: Ends,
}

/// How an event must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    Prediction,
    /// It is remembered, and there is nothing to say about it.
    Skipped,
}

/// Something that is no event of a stream: what it is, and its bytes.
pub type Bad = (&'static str, &'static str);

/// One of the streams.
pub struct Stream {
    /// The function of its pipeline.
    pub function: &'static str,
    /// The name of its pipeline.
    pub pipeline: String,
    pub topic: String,
    /// What is answered.
    pub unit: &'static str,
    pub partitions: i32,
    pub bad: &'static [Bad],
    /// Events that were there before.
    pub history: usize,
    pub sent: Sent,
    pub view: Arc<View>,
}

/// What was sent up to now, history included.
#[derive(Default)]
pub struct Sent {
    predictions: AtomicU64,
    skipped: AtomicU64,
    bad: AtomicU64,
}

/// What is still to be sent.
pub struct Feed {
    pub history: std::vec::IntoIter<Message>,
    pub live: Box<dyn Iterator<Item = Message> + Send>,
}

impl Sent {
    pub fn bad(&self) -> u64 {
        self.bad.load(Ordering::Relaxed)
    }

    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub fn predictions(&self) -> u64 {
        self.predictions.load(Ordering::Relaxed)
    }

    pub fn all(&self) -> u64 {
        self.predictions() + self.skipped() + self.bad()
    }

    pub fn add(&self, ends: Option<Ends>) {
        let counter = match ends {
            Some(Ends::Prediction) => &self.predictions,
            Some(Ends::Skipped) => &self.skipped,
            None => &self.bad,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Stream {
    fn new(function: &'static str, unit: &'static str, partitions: i32, bad: &'static [Bad], history: usize) -> Self {
        let (pipeline, topic) = (String::new(), String::new());
        Self { function, pipeline, topic, unit, partitions, bad, history, sent: Sent::default(), view: Arc::default() }
    }

    /// The pipeline of the config that runs its function.
    fn of(mut self, config: &Config) -> Result<Self, Usage> {
        let mut found = config.pipeline.iter().filter(|pipeline| pipeline.function == self.function);
        match (found.next(), found.next()) {
            (Some(pipeline), None) if pipeline.topic.len() == 1 && pipeline.mode == Mode::Both => {
                (self.pipeline, self.topic) = (pipeline.name.clone(), pipeline.topic[0].clone());
                Ok(self)
            }
            _ => Err(Usage(format!(
                "the demo's config needs exactly one pipeline that runs `{}`, of one topic and with mode = \"both\"",
                self.function
            ))),
        }
    }

    /// Live events that were sent, but for the bad ones.
    pub fn live(&self) -> usize {
        ((self.sent.predictions() + self.sent.skipped()) as usize).saturating_sub(self.history)
    }

    /// How often a bad event of that kind was sent: they go in turn.
    pub fn sent_of_kind(&self, kind: usize) -> u64 {
        let kinds = self.bad.len() as u64;
        (self.sent.bad() + kinds - 1 - kind as u64) / kinds
    }

    /// Whether all that was sent is decided and published.
    pub fn is_through(&self) -> bool {
        self.view.decided() >= self.sent.all() && self.view.published() >= self.sent.predictions() + self.sent.bad()
    }
}

/// The three streams, and what they send.
pub fn streams(config: &Config, seed: u64, sample: &clicks::Sample) -> anyhow::Result<(Vec<Stream>, Vec<Feed>)> {
    let mut payments = transactions::Transactions::new(seed).peekable();
    let before: Vec<Message> = transactions::until_day(&mut payments, HISTORY_DAYS).map(Message::from).collect();
    let (rated, clicks) = sample.messages();
    let streams = vec![
        Stream::new("risk", "payments", 1, &transactions::BAD, before.len()).of(config)?,
        Stream::new("sentiment", "messages", 4, &chat::BAD, 0).of(config)?,
        Stream::new("recommend", "lists", 1, &clicks::BAD, rated.len()).of(config)?,
    ];
    let feeds = vec![
        Feed::new(before, payments.map(Message::from)),
        Feed::new(Vec::new(), chat::messages()?),
        Feed::new(rated, clicks.into_iter()),
    ];
    Ok((streams, feeds))
}

impl Feed {
    fn new(history: Vec<Message>, live: impl Iterator<Item = Message> + Send + 'static) -> Self {
        Self { history: history.into_iter(), live: Box::new(live) }
    }
}

impl From<transactions::Event> for Message {
    fn from(event: transactions::Event) -> Self {
        let ends = match event.what {
            transactions::What::Payment { .. } => Ends::Prediction,
            transactions::What::Label => Ends::Skipped,
        };
        Self { key: event.card, body: event.body, ends }
    }
}
