//! A model folder brought to life: texts in, vectors or logits out.

mod together;

pub use together::Together;

use super::InferenceError;
use super::backbone::{self, Backbone, Backbones, Pooling};
use super::batch;
use super::checkpoint::{ModelConfig, Problem};
use super::described::Described;
use super::handle::{Handle, Model, Threads};
use super::heads::{Heads, Labelled, Rows, mean};
use super::network::{Scratch, Sequence};
use super::ops::softmax;
use super::tokenizer::{Cut, Text, TextTokenizer, Tokens};
use super::weights::{Digest, Weights};
use futures_util::future::try_join_all;
use std::path::Path;
use std::sync::Arc;

/// How a model is run.
#[derive(Debug, Clone)]
pub struct Options {
    pub threads: Threads,
    /// Pieces of slices that wait for a model thread at most; callers wait beyond that.
    pub queue: usize,
    /// Tokens that go through the network together. More do not make it faster once the products are large, but need more memory:
    /// about 24 KB a token for MiniLM.
    pub token_budget: usize,
    /// Encoders that are open: models that stand on the same one share its weights.
    pub backbones: Backbones,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: Threads::default(), queue: 64, token_budget: 512, backbones: Backbones::default() }
    }
}

/// What is asked about a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// The pooled vector, of length 1: `[hidden]`.
    Embed,
    /// The score of each label by the model's [`Problem`]: `[labels]`.
    Classify,
    /// The same before softmax or sigmoid: `[labels]`.
    Logits,
    /// The logits of each token's labels: `[tokens * labels]`, row-major.
    Tokens,
    /// The logits of each token as start and as end of an answer: `[tokens * 2]`, row-major.
    Spans,
    /// The logits of the words behind each mask token, in order: `[masks * vocabulary]`, row-major.
    Mask,
}

/// The answer for one text.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Finite numbers; what they are depends on the [`Head`].
    pub values: Vec<f32>,
    /// Tokens that the network saw, special ones included.
    pub tokens: usize,
    /// Whether the text was longer than the model can see.
    pub truncated: bool,
}

struct Shared {
    backbone: Arc<Backbone>,
    heads: Heads,
    token_budget: usize,
}

/// A loaded model with its threads.
pub struct Encoder {
    id: String,
    digest: Digest,
    described: Described,
    shared: Arc<Shared>,
    handle: Handle<Engine>,
    options: Options,
}

impl Encoder {
    /// Opens a model folder. Blocks while it reads. `expected` is the sha256 of `model.safetensors`, at least 12 digits of it.
    pub fn open(name: &str, folder: &Path, expected: Option<&str>, options: &Options) -> Result<Self, InferenceError> {
        let config = ModelConfig::open(folder)?;
        let weights = Weights::open(folder, expected)?;
        let tensors = weights.tensors()?;
        let (backbone, heads) = match backbone::named(&config, folder, &weights)? {
            Some(base) => {
                let backbone = options.backbones.open(&base.folder, &base.sha256)?;
                let heads = Heads::on_frozen(&config, &tensors, &*backbone.network)?;
                (backbone, heads)
            }
            None => {
                let backbone = options.backbones.get_or_load(folder, &config, &weights)?;
                let heads = Heads::load(&config, &tensors, &*backbone.network)?;
                (backbone, heads)
            }
        };
        let described = Described::new(&config, &weights, &tensors, &heads, &backbone)?;
        let shared = Arc::new(Shared { backbone, heads, token_budget: options.token_budget });
        let engine = Arc::clone(&shared);
        let build = move || Engine { shared: Arc::clone(&engine), scratch: Scratch::default() };
        let handle = Handle::start(name, options.threads, options.queue, build)?;
        let digest = weights.digest().clone();
        Ok(Self { id: format!("{name}@{}", digest.short()), digest, described, shared, handle, options: options.clone() })
    }

    /// Opens another model as this one was opened; if it stands on the same encoder, they share it.
    pub fn open_beside(&self, name: &str, folder: &Path) -> Result<Self, InferenceError> {
        Self::open(name, folder, None, &self.options)
    }

    /// `name@digest12`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Whether two models stand on the same encoder, held once.
    pub fn shares_backbone(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared.backbone, &other.shared.backbone)
    }

    /// Tensors of the file that neither the network nor its head has read, by name. A pooler without a head is such a tensor; many
    /// of them tell that the file is of another architecture than its `config.json` says.
    pub fn unread(&self) -> &[String] {
        &self.described.unread
    }

    /// What the folder turned out to be.
    pub fn described(&self) -> &Described {
        &self.described
    }

    /// Numbers in an embedding.
    pub fn dimensions(&self) -> usize {
        self.shared.backbone.network.hidden()
    }

    /// The sequence head's labels in the order of its scores; `None` for a model without that head.
    pub fn labels(&self) -> Option<&[String]> {
        self.shared.heads.sequence.as_ref().map(|head| head.labels.as_slice())
    }

    /// What the sequence head's labels are to each other.
    pub fn problem(&self) -> Option<Problem> {
        self.shared.heads.sequence.as_ref().map(|head| head.problem)
    }

    /// The token head's labels; `None` for a model without that head.
    pub fn token_labels(&self) -> Option<&[String]> {
        self.shared.heads.tokens.as_ref().map(|head| head.labels.as_slice())
    }

    /// Whether [`Head::Spans`] can be asked.
    pub fn has_spans(&self) -> bool {
        self.shared.heads.spans.is_some()
    }

    /// Whether [`Head::Mask`] can be asked, and the id of the mask token.
    pub fn mask_token(&self) -> Option<u32> {
        self.shared.backbone.mask_token.filter(|_| self.shared.heads.mask.is_some())
    }

    /// Tokens of a text that the model sees at most.
    pub fn max_tokens(&self) -> usize {
        self.shared.backbone.tokenizer.max_tokens()
    }

    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.shared.backbone.tokenizer
    }

    pub fn tokenize(&self, text: &str) -> Result<Tokens, InferenceError> {
        self.shared.backbone.tokenizer.encode(text)
    }

    /// One answer a text, in the same order. The texts are shared out among the model threads.
    pub async fn answer(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        self.answer_texts(head, texts.into_iter().map(Text::from).collect(), Cut::default()).await
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn answer_blocking(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        let requests = self.requests(head, texts.into_iter().map(Text::from).collect(), Cut::default());
        Ok(self.handle.infer_blocking(requests)?.into_iter().flat_map(|reply| reply.answers).collect())
    }

    /// One answer a text or pair, in the same order; what is too long is cut, never slid over.
    pub async fn answer_texts(&self, head: Head, texts: Vec<Text>, cut: Cut) -> Result<Vec<Answer>, InferenceError> {
        let replies = self.infer(self.requests(head, texts, Cut { stride: None, ..cut })).await?;
        Ok(replies.into_iter().flat_map(|reply| reply.answers).collect())
    }

    /// The windows of each text, tokenised on the model threads.
    pub async fn windows(&self, texts: Vec<Text>, cut: Cut) -> Result<Vec<Vec<Tokens>>, InferenceError> {
        let weights: Vec<usize> = texts.iter().map(|text| text_weight(text, usize::MAX)).collect();
        let mut texts = texts.into_iter();
        let ranges = batch::shares(&weights, self.handle.threads());
        let requests =
            ranges.into_iter().map(|range| Request::Windows(texts.by_ref().take(range.len()).collect(), cut)).collect();
        Ok(self.infer(requests).await?.into_iter().flat_map(|reply| reply.windows).collect())
    }

    /// One answer a window, in the same order.
    pub async fn answer_windows(&self, head: Head, windows: Vec<Tokens>) -> Result<Vec<Answer>, InferenceError> {
        let weights: Vec<usize> = windows.iter().map(|window| window.ids.len()).collect();
        let mut windows = windows.into_iter();
        let ranges = batch::shares(&weights, self.handle.threads());
        let requests =
            ranges.into_iter().map(|range| Request::Tokens(head, windows.by_ref().take(range.len()).collect())).collect();
        Ok(self.infer(requests).await?.into_iter().flat_map(|reply| reply.answers).collect())
    }

    async fn infer(&self, requests: Vec<Request>) -> Result<Vec<Reply>, InferenceError> {
        try_join_all(requests.into_iter().map(|request| self.handle.infer(request))).await
    }

    fn requests(&self, head: Head, texts: Vec<Text>, cut: Cut) -> Vec<Request> {
        let longest = self.max_tokens();
        let weights: Vec<usize> = texts.iter().map(|text| text_weight(text, longest)).collect();
        let mut texts = texts.into_iter();
        let ranges = batch::shares(&weights, self.handle.threads());
        ranges.into_iter().map(|range| Request::Texts(head, texts.by_ref().take(range.len()).collect(), cut)).collect()
    }
}

/// About how many tokens a text costs. A token has about five bytes, and every text costs its special tokens.
fn text_weight(text: &Text, longest: usize) -> usize {
    let bytes = text.first.len() + text.second.as_ref().map_or(0, String::len);
    (2 + bytes / 5).min(longest)
}

enum Request {
    Texts(Head, Vec<Text>, Cut),
    Tokens(Head, Vec<Tokens>),
    Windows(Vec<Text>, Cut),
    /// The vectors, and the scores of heads that stand on the same encoder.
    Together(Vec<Arc<Shared>>, Vec<Text>),
}

/// All but one are empty.
#[derive(Default)]
struct Reply {
    answers: Vec<Answer>,
    windows: Vec<Vec<Tokens>>,
    together: Vec<Together>,
}

struct Engine {
    shared: Arc<Shared>,
    scratch: Scratch,
}

impl Model for Engine {
    type Input = Request;
    type Output = Reply;

    fn infer(&mut self, request: Request) -> Result<Reply, InferenceError> {
        let (head, tokens) = match request {
            Request::Together(heads, texts) => return self.together(&heads, &texts),
            Request::Windows(texts, cut) => {
                let tokenizer = &self.shared.backbone.tokenizer;
                let windows = texts.iter().map(|text| tokenizer.windows(text, &cut)).collect::<Result<_, _>>()?;
                return Ok(Reply { windows, ..Reply::default() });
            }
            Request::Tokens(head, tokens) => (head, tokens),
            Request::Texts(head, texts, cut) => (head, self.shared.tokens(&texts, &cut)?),
        };
        let lengths: Vec<usize> = tokens.iter().map(|t| t.ids.len()).collect();
        let mut answers: Vec<Answer> =
            tokens.iter().map(|t| Answer { values: Vec::new(), tokens: t.ids.len(), truncated: t.truncated }).collect();
        for batch in batch::by_token_budget(&lengths, self.shared.token_budget) {
            let texts: Vec<Sequence<'_>> =
                batch.iter().map(|&i| Sequence { ids: &tokens[i].ids, types: &tokens[i].types }).collect();
            let values = self.shared.values(head, &texts, &mut self.scratch)?;
            for (index, values) in batch.into_iter().zip(values) {
                answers[index].values = values;
            }
        }
        match answers.iter().any(|a| a.values.iter().any(|v| !v.is_finite())) {
            true => Err(InferenceError::Poison("an answer is not a finite number".to_owned())),
            false => Ok(Reply { answers, ..Reply::default() }),
        }
    }
}

impl Shared {
    /// What the network sees of each text: its first window.
    fn tokens(&self, texts: &[Text], cut: &Cut) -> Result<Vec<Tokens>, InferenceError> {
        texts.iter().map(|text| Ok(self.backbone.tokenizer.windows(text, cut)?.swap_remove(0))).collect()
    }

    /// One vector a text.
    fn values(&self, head: Head, texts: &[Sequence<'_>], scratch: &mut Scratch) -> Result<Vec<Vec<f32>>, InferenceError> {
        self.backbone.network.encode(texts, scratch)?;
        self.read(head, texts, &scratch.x)
    }

    /// The same from what the network left, `[total_tokens, hidden]`.
    fn read(&self, head: Head, texts: &[Sequence<'_>], x: &[f32]) -> Result<Vec<Vec<f32>>, InferenceError> {
        let network = &*self.backbone.network;
        let none = |what: &str| Err(InferenceError::Poison(format!("the model has no head for {what}")));
        let logits = |labelled: &Labelled| match labelled.head.rows {
            Rows::Embedding => {
                let rows = self.embeddings(texts, x).concat();
                labelled.head.finish(network, rows, &vec![1; texts.len()])
            }
            _ => labelled.head.logits(network, x, texts, None),
        };
        let heads = &self.heads;
        match (head, &heads.sequence, &heads.tokens, &heads.spans, &heads.mask) {
            (Head::Embed, ..) => Ok(self.embeddings(texts, x)),
            (Head::Logits, Some(of), ..) => Ok(logits(of)),
            (Head::Classify, Some(of), ..) => Ok(logits(of).into_iter().map(|row| scores(row, of.problem)).collect()),
            (Head::Tokens, _, Some(of), ..) => Ok(logits(of)),
            (Head::Spans, _, _, Some(of), _) => Ok(of.logits(network, x, texts, None)),
            (Head::Mask, .., Some(of)) => {
                let masks = |text: &Sequence<'_>| {
                    (0..text.ids.len()).filter(|&i| Some(text.ids[i]) == self.backbone.mask_token).collect()
                };
                let only: Vec<Vec<usize>> = texts.iter().map(masks).collect();
                Ok(of.logits(network, x, texts, Some(&only)))
            }
            (Head::Classify | Head::Logits, ..) => none("labels of a text"),
            (Head::Tokens, ..) => none("labels of tokens"),
            (Head::Spans, ..) => none("answers in a text"),
            (Head::Mask, ..) => none("words behind a mask"),
        }
    }

    /// Pooled vectors of length 1.
    fn embeddings(&self, texts: &[Sequence<'_>], x: &[f32]) -> Vec<Vec<f32>> {
        let hidden = self.backbone.network.hidden();
        let mut rest = x;
        let one = |text: &Sequence<'_>| {
            let (rows, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            let mut vector = match self.backbone.pooling {
                Pooling::Mean => mean(rows, hidden),
                Pooling::FirstToken => rows[..hidden].to_vec(),
            };
            let norm = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
            vector.iter_mut().for_each(|v| *v /= norm);
            vector
        };
        texts.iter().map(one).collect()
    }
}

/// The place of the greatest; the first of equals.
pub fn best(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

/// The scores of one row of logits.
pub fn scores(mut row: Vec<f32>, problem: Problem) -> Vec<f32> {
    match problem {
        Problem::OneLabel if row.len() > 1 => softmax(&mut row),
        Problem::OneLabel | Problem::ManyLabels => row.iter_mut().for_each(|v| *v = 1.0 / (1.0 + (-*v).exp())),
        Problem::Regression => {}
    }
    row
}
