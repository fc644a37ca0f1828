//! What can be asked of a generator, with and without a Tokio runtime.

use super::beams::{BeamOptions, Hypothesis};
use super::blocks::Blocks;
use super::generator::Generator;
use super::job::{Generate, Job, Other, Score, Search};
use super::request::{Choose, Generated, Request, Steer, Token};
use super::{engine, search};
use crate::inference::InferenceError;
use crate::inference::worked::Meter;
use tokio::sync::{mpsc, oneshot};

type Answer<T> = oneshot::Receiver<Result<T, InferenceError>>;

/// A job for the queue, and where its answer comes; or why it can never run.
type Asked<T> = Result<(Job, Answer<T>), InferenceError>;

impl Generator {
    /// Goes on with a text. When the caller drops the future, the text is given up and its memory freed.
    pub async fn generate(&self, request: Request) -> Result<Generated, InferenceError> {
        self.ask(self.writing(request, None)?).await
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn generate_blocking(&self, request: Request) -> Result<Generated, InferenceError> {
        self.ask_blocking(self.writing(request, None)?)
    }

    /// Goes on with a text in several ways, each with a chooser of its own: that of the request, then the others. The prompt is computed
    /// once. Each answer is the one that it would be alone.
    pub async fn generate_several(
        &self,
        request: Request,
        others: Vec<Box<dyn Choose>>,
    ) -> Result<Vec<Generated>, InferenceError> {
        let mut answers = Vec::with_capacity(others.len() + 1);
        let mut more = Vec::with_capacity(others.len());
        for choose in others {
            let (reply, answer) = oneshot::channel();
            more.push(Other { choose, reply });
            answers.push(answer);
        }
        let (prompt, tokens) = (request.ids.len(), request.ids.len().saturating_add(request.max_new_tokens));
        if tokens <= self.max_positions() {
            self.check(&request.ids, tokens, engine::blocks(self.limit, prompt, tokens, more.len()))?;
        }
        let (mut job, first) = self.writing(request, None)?;
        if let Job::Generate(job) = &mut job {
            job.others = more;
        }
        let mut all = vec![self.ask((job, first)).await?];
        for answer in answers {
            all.push(answer.await.map_err(|_| gone())??);
        }
        Ok(all)
    }

    /// Goes on with a text, and sends each token when it is chosen. When the receiver is dropped, the text is given up too.
    pub async fn stream(&self, request: Request, tokens: mpsc::UnboundedSender<Token>) -> Result<Generated, InferenceError> {
        self.ask(self.writing(request, Some(tokens))?).await
    }

    /// Goes on with a text in several ways and returns the best whole ones, the best first.
    pub async fn search(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        stop_ids: Vec<u32>,
        options: BeamOptions,
    ) -> Result<Vec<Hypothesis>, InferenceError> {
        self.ask(self.searching(ids, max_new_tokens, stop_ids, options, None)?).await
    }

    /// The same, where something changes the log-probabilities and says when a text is whole.
    pub async fn search_steered(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        stop_ids: Vec<u32>,
        options: BeamOptions,
        steer: Box<dyn Steer>,
    ) -> Result<Vec<Hypothesis>, InferenceError> {
        self.ask(self.searching(ids, max_new_tokens, stop_ids, options, Some(steer))?).await
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn search_blocking(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        stop_ids: Vec<u32>,
        options: BeamOptions,
    ) -> Result<Vec<Hypothesis>, InferenceError> {
        self.ask_blocking(self.searching(ids, max_new_tokens, stop_ids, options, None)?)
    }

    /// The summed log-probability of each continuation after the prefix, which is computed once. The first token of a continuation
    /// is predicted by the last of the prefix.
    pub async fn score(&self, prefix: Vec<u32>, continuations: Vec<Vec<u32>>) -> Result<Vec<f32>, InferenceError> {
        Ok(sums(&self.ask(self.scoring(prefix, continuations)?).await?))
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn score_blocking(&self, prefix: Vec<u32>, continuations: Vec<Vec<u32>>) -> Result<Vec<f32>, InferenceError> {
        Ok(sums(&self.ask_blocking(self.scoring(prefix, continuations)?)?))
    }

    /// The log-probability of each id after the first, given those before it: `[ids - 1]`. The perplexity is `e` to the power of
    /// their negated mean.
    pub async fn log_likelihood(&self, ids: Vec<u32>) -> Result<Vec<f32>, InferenceError> {
        Ok(self.ask(self.reading(ids)?).await?.concat())
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn log_likelihood_blocking(&self, ids: Vec<u32>) -> Result<Vec<f32>, InferenceError> {
        Ok(self.ask_blocking(self.reading(ids)?)?.concat())
    }

    async fn ask<T>(&self, (job, answer): (Job, Answer<T>)) -> Result<T, InferenceError> {
        self.queue.send(job).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn ask_blocking<T>(&self, (job, answer): (Job, Answer<T>)) -> Result<T, InferenceError> {
        self.queue.blocking_send(job).map_err(|_| gone())?;
        answer.blocking_recv().map_err(|_| gone())?
    }

    fn writing(&self, request: Request, stream: Option<mpsc::UnboundedSender<Token>>) -> Asked<Generated> {
        let Request { ids, max_new_tokens, stop_ids, choose } = request;
        if max_new_tokens == 0 {
            return Err(InferenceError::Poison("max_new_tokens is 0; at least 1 is expected".to_owned()));
        }
        let tokens = ids.len().saturating_add(max_new_tokens);
        self.check(&ids, tokens, Blocks::needed(tokens))?;
        let (reply, answer) = oneshot::channel();
        let (others, meter) = (Vec::new(), Meter::of_task());
        Ok((Job::Generate(Generate { ids, max_new_tokens, stop_ids, choose, others, stream, meter, reply }), answer))
    }

    fn searching(
        &self,
        ids: Vec<u32>,
        max_new_tokens: usize,
        stop_ids: Vec<u32>,
        options: BeamOptions,
        steer: Option<Box<dyn Steer>>,
    ) -> Asked<Vec<Hypothesis>> {
        if max_new_tokens == 0 || options.beams == 0 || !options.length_penalty.is_finite() {
            let (beams, penalty) = (options.beams, options.length_penalty);
            let given = format!("max_new_tokens {max_new_tokens}, beams {beams}, length_penalty {penalty}");
            return Err(InferenceError::Poison(format!("{given}; at least 1, at least 1 and a finite number are expected")));
        }
        let tokens = ids.len().saturating_add(max_new_tokens);
        let blocks =
            if tokens > self.max_positions() { 0 } else { search::blocks(self.limit, ids.len(), max_new_tokens, options) };
        self.check(&ids, tokens, blocks)?;
        let (reply, answer) = oneshot::channel();
        let meter = Meter::of_task();
        Ok((Job::Search(Search { ids, max_new_tokens, stop_ids, options, steer, meter, reply }), answer))
    }

    fn scoring(&self, prefix: Vec<u32>, continuations: Vec<Vec<u32>>) -> Asked<Vec<Vec<f32>>> {
        if let Some(index) = continuations.iter().position(Vec::is_empty) {
            return Err(InferenceError::Poison(format!("continuation {index} is empty")));
        }
        let (reply, answer) = oneshot::channel();
        let job = Score { prefix, continuations, meter: Meter::of_task(), reply };
        self.check(&job.prefix, job.longest(), job.blocks())?;
        for continuation in &job.continuations {
            self.known(continuation)?;
        }
        Ok((Job::Score(job), answer))
    }

    fn reading(&self, mut ids: Vec<u32>) -> Asked<Vec<Vec<f32>>> {
        if ids.len() < 2 {
            return Err(InferenceError::Poison(format!(
                "{} ids; at least 2 are needed, since the first is not predicted",
                ids.len()
            )));
        }
        let rest = ids.split_off(1);
        self.scoring(ids, vec![rest])
    }
}

/// Added up in double precision, so that long texts do not lose the small ones.
fn sums(scores: &[Vec<f32>]) -> Vec<f32> {
    scores.iter().map(|tokens| tokens.iter().map(|p| f64::from(*p)).sum::<f64>() as f32).collect()
}

fn gone() -> InferenceError {
    InferenceError::Closed("they ended before they answered".to_owned())
}
