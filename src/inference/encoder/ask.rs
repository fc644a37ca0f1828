//! Questions to an encoder: each once, shared out among the model threads, answers in order.

use super::engine::{Reply, Request};
use super::once::Once;
use super::{Answer, Encoder, Head};
use crate::inference::InferenceError;
use crate::inference::batch;
use crate::inference::results::{Key, Question};
use crate::inference::tokenizer::{Cut, Text, Tokens};
use futures_util::future::try_join_all;

impl Encoder {
    pub fn tokenize(&self, text: &str) -> Result<Tokens, InferenceError> {
        self.tokenizer().encode(text)
    }

    /// One answer a text, in the same order. The texts are shared out among the model threads.
    pub async fn answer(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        self.answer_texts(head, texts.into_iter().map(Text::from).collect(), Cut::default()).await
    }

    /// The same for callers outside a Tokio runtime. Panics inside one.
    pub fn answer_blocking(&self, head: Head, texts: Vec<String>) -> Result<Vec<Answer>, InferenceError> {
        let mut once = self.once(head, texts.into_iter().map(Text::from).collect(), Cut::default());
        let requests = self.requests(head, std::mem::take(&mut once.new), Cut::default());
        self.answered(once, self.handle.infer_blocking(requests)?)
    }

    /// One answer a text or pair, in the same order; what is too long is cut, never slid over.
    pub async fn answer_texts(&self, head: Head, texts: Vec<Text>, cut: Cut) -> Result<Vec<Answer>, InferenceError> {
        let cut = Cut { stride: None, ..cut };
        let mut once = self.once(head, texts, cut);
        let replies = self.infer(self.requests(head, std::mem::take(&mut once.new), cut)).await?;
        self.answered(once, replies)
    }

    /// The windows of each text, tokenised on the model threads.
    pub async fn windows(&self, texts: Vec<Text>, cut: Cut) -> Result<Vec<Vec<Tokens>>, InferenceError> {
        let requests = self.shared_out(texts, |text| text_weight(text, usize::MAX), |texts| Request::Windows(texts, cut));
        Ok(self.infer(requests).await?.into_iter().flat_map(|reply| reply.windows).collect())
    }

    /// One answer a window, in the same order.
    pub async fn answer_windows(&self, head: Head, windows: Vec<Tokens>) -> Result<Vec<Answer>, InferenceError> {
        let question = self.question(&format!("window {head:?}"));
        let results = &self.options.results;
        let mut once = Once::new(windows, results, self.options.merge, |window| Key::of_tokens(question, window));
        let new = std::mem::take(&mut once.new);
        let requests = self.shared_out(new, |window| window.ids.len(), |windows| Request::Tokens(head, windows));
        let replies = self.infer(requests).await?;
        self.answered(once, replies)
    }

    fn answered<T>(&self, once: Once<T>, replies: Vec<Reply>) -> Result<Vec<Answer>, InferenceError> {
        let (mut answers, mut vectors) = (Vec::new(), Vec::new());
        for reply in replies {
            answers.extend(reply.answers);
            vectors.extend(reply.vectors);
        }
        once.answers(answers, &vectors, &self.options.results)
    }

    pub(super) async fn infer(&self, requests: Vec<Request>) -> Result<Vec<Reply>, InferenceError> {
        try_join_all(requests.into_iter().map(|request| self.handle.infer(request))).await
    }

    fn once(&self, head: Head, texts: Vec<Text>, cut: Cut) -> Once<Text> {
        let question = self.question(&format!("text {head:?}")).cut(&cut);
        Once::new(texts, &self.options.results, self.options.merge, |text| Key::of_text(question, text))
    }

    fn requests(&self, head: Head, texts: Vec<Text>, cut: Cut) -> Vec<Request> {
        let longest = self.max_tokens();
        self.shared_out(texts, |text| text_weight(text, longest), |texts| Request::Texts(head, texts, cut))
    }

    /// A request for each thread that gets a share.
    pub(super) fn shared_out<T>(
        &self,
        items: Vec<T>,
        weight: impl Fn(&T) -> usize,
        request: impl Fn(Vec<T>) -> Request,
    ) -> Vec<Request> {
        let weights: Vec<usize> = items.iter().map(weight).collect();
        let ranges = batch::shares(&weights, self.handle.threads());
        let mut items = items.into_iter();
        ranges.into_iter().map(|range| request(items.by_ref().take(range.len()).collect())).collect()
    }

    fn question(&self, what: &str) -> Question {
        Question::new([&self.contents], what)
    }
}

/// About how many tokens a text costs. A token has about five bytes, and every text costs its special tokens.
pub(super) fn text_weight(text: &Text, longest: usize) -> usize {
    let bytes = text.first.len() + text.second.as_ref().map_or(0, String::len);
    (2 + bytes / 5).min(longest)
}
