//! By labels that come with the question ("zero-shot").
//!
//! `embeddings`: the text and each label as vectors; softmax of cosine / `temperature`. A label's vector is computed once and kept.
//! `nli`: the model reads the text as premise and a sentence with the label as hypothesis; only the premise is ever cut. One label
//! holds: softmax of the entailment logits over the labels. `multi_label`, or a single label: entailment against contradiction.
//! Windows of a text count by their tokens: the mean of their scores, and for `nli` of their logits.

use super::{Backend, Classified, Options, Passage, Reading, classified};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::control::harmless;
use crate::function::task::check_list;
use crate::function::vectors::embeddings;
use crate::function::windows::{self, Seen, Window, answers, cosine, softmax};
use crate::inference::{Cut, Encoder, Give, Head, Text, Tokens};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Pairs that are tokenised and answered together: bounds the memory of a slice with many labels.
const PAIRS: usize = 2_048;
/// Vectors of labels that are kept.
const CACHED: usize = 10_000;
/// Of labels that are no longer than this.
const CACHED_BYTES: usize = 1_024;

/// How the candidates are scored.
#[derive(Debug, Clone)]
pub enum Way {
    Embeddings { template: String },
    Nli { template: String, entailment: usize, contradiction: usize },
}

impl Way {
    /// The error says why this model cannot do it.
    pub fn of(encoder: &Encoder, options: &Options) -> Result<Self, String> {
        let labels = encoder.labels().unwrap_or_default();
        let named = |starts: &[&str]| {
            labels.iter().position(|label| starts.iter().any(|start| label.trim().to_lowercase().starts_with(start)))
        };
        let both = named(&["entail"]).zip(named(&["contradict", "not_entail", "not entail"]));
        let backend = match (options.backend, both, labels) {
            (Some(backend), ..) => backend,
            (None, Some(_), _) => Backend::Nli,
            (None, None, []) => Backend::Embeddings,
            (None, None, _) => {
                return Err(format!(
                    "`candidate_labels` need a model of natural language inference or one that embeds; this one has the labels {}",
                    labels.join(", ")
                ));
            }
        };
        let bare = if backend == Backend::Nli { "This example is {}." } else { "{}" };
        let template = options.hypothesis_template.clone().unwrap_or_else(|| bare.to_owned());
        if !template.contains("{}") {
            return Err("option `hypothesis_template` must have {} where the label goes".to_owned());
        }
        match (backend, both) {
            (Backend::Continuation, _) => Err("the back end `continuation` needs a causal model; this one reads".to_owned()),
            (Backend::Nli, _) if options.temperature.is_some() => {
                Err("option `temperature` is for the back ends `embeddings` and `continuation`; entailment is not divided by it"
                    .to_owned())
            }
            (Backend::Embeddings, _) if options.multi_label => {
                Err("option `multi_label` is for the back end `nli`; cosines say which label is nearest, not whether it holds"
                    .to_owned())
            }
            (Backend::Embeddings, _) => Ok(Self::Embeddings { template }),
            (Backend::Nli, Some((entailment, contradiction))) => Ok(Self::Nli { template, entailment, contradiction }),
            (Backend::Nli, None) => Err(format!(
                "the back end `nli` needs a model with the labels entailment and contradiction; this one has {}",
                if labels.is_empty() { "none".to_owned() } else { labels.join(", ") }
            )),
        }
    }
}

/// Labels without white space at their ends; refused when some are empty, equal, too many or none.
pub fn checked(labels: Vec<String>) -> Result<Vec<String>, Rejection> {
    let labels: Vec<String> = labels.into_iter().map(|label| label.trim().to_owned()).collect();
    check_list("candidate_labels", labels.len())?;
    super::distinct(&labels).map(|()| labels)
}

/// The vectors of labels, by the text that was embedded.
#[derive(Default)]
pub struct Cache(Mutex<HashMap<String, Arc<[f32]>>>);

impl Cache {
    async fn of(&self, encoder: &Encoder, texts: Vec<String>) -> Result<HashMap<String, Arc<[f32]>>, CallError> {
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for text in texts {
                match known.get(&text) {
                    Some(vector) => drop(found.insert(text, vector.clone())),
                    None => missing.push(text),
                }
            }
        }
        missing.sort_unstable();
        missing.dedup();
        let vectors = embeddings(encoder, missing.clone()).await?;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (text, (vector, _)) in missing.into_iter().zip(vectors) {
            // What came first stays: labels of the options are asked for before those of any event.
            if known.len() < CACHED && text.len() <= CACHED_BYTES {
                known.insert(text.clone(), vector.clone());
            }
            found.insert(text, vector);
        }
        Ok(found)
    }
}

/// A text and the labels to choose from.
type Labelled = (Passage, Vec<String>);

impl Reading {
    /// Texts with their labels, which are checked.
    pub(super) async fn by_labels(&self, asks: Vec<Labelled>) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let (asks, refused) = self.apart(asks);
        let scored = match &self.way {
            _ if asks.is_empty() => Ok(Vec::new()),
            Ok(Way::Embeddings { template }) => self.nearest(asks, template).await,
            Ok(Way::Nli { template, entailment, contradiction }) => {
                self.entailed(asks, template, (*entailment, *contradiction)).await
            }
            Err(cause) => Err(CallError::Fatal(cause.clone())),
        };
        let mut scored = scored?.into_iter();
        let none = || Err(Rejection::new("no_answer", "the model gave no answer"));
        Ok(refused.into_iter().map(|refused| refused.map_or_else(|| scored.next().unwrap_or_else(none), Err)).collect())
    }

    /// The asks that can be scored, and for each of all whether it is refused: labels that are the same to the model say nothing.
    fn apart(&self, asks: Vec<Labelled>) -> (Vec<Labelled>, Vec<Option<Rejection>>) {
        // Most of a slice have the labels of the options, which were looked at before; each other list is looked at once.
        let mut seen: HashMap<&[String], Option<Rejection>> = HashMap::new();
        if let Some(own) = &self.own {
            seen.insert(&own.labels, own.refused.clone());
        }
        let look = |labels: &[String]| self.way.as_ref().ok().and_then(|way| unfit(&self.encoder, way, labels));
        let refusals: Vec<Option<Rejection>> =
            asks.iter().map(|(_, labels)| seen.entry(labels).or_insert_with_key(|labels| look(labels)).clone()).collect();
        let kept = asks.into_iter().zip(&refusals).filter(|(_, refused)| refused.is_none()).map(|(ask, _)| ask).collect();
        (kept, refusals)
    }

    async fn nearest(&self, asks: Vec<Labelled>, template: &str) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let (encoder, policy) = (&*self.encoder, self.options.too_long);
        let written = |label: &String| template.replace("{}", label);
        let all = asks.iter().flat_map(|(_, labels)| labels.iter().map(written)).collect();
        let vectors = self.cache.of(encoder, all).await?;
        let (passages, labels): (Vec<Passage>, Vec<Vec<String>>) = asks.into_iter().unzip();
        let texts = passages.into_iter().map(|ask| windows::text(encoder, ask.text, ask.pair)).collect();
        let cut = windows::cut(encoder, policy, self.options.stride);
        let mut asked = windows::windows(encoder, texts, cut, policy).await?;
        let strange = windows::strange_ones(encoder, &asked);
        let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
        let mut answered = answers(encoder, Head::Embed, tokens).await?.into_iter();
        let mut strange = strange.into_iter();
        let one = |(asked, labels): (Result<Vec<Tokens>, Rejection>, Vec<String>)| -> Result<Classified, Rejection> {
            let strange = strange.next().unwrap_or_default();
            asked?;
            let windows = answered.next().unwrap_or_default();
            let seen = Seen::of(&windows);
            let temperature = self.options.temperature.unwrap_or(super::TEMPERATURE);
            let mut mean = vec![0.0; labels.len()];
            for window in &windows {
                let cosine = |label| vectors.get(&written(label)).map_or(0.0, |vector| cosine(&window.answer.values, vector));
                let mut scores: Vec<f32> = labels.iter().map(|label| cosine(label) / temperature).collect();
                softmax(&mut scores);
                let share = window.answer.tokens as f32 / seen.tokens.max(1) as f32;
                mean.iter_mut().zip(&scores).for_each(|(mean, score)| *mean += score * share);
            }
            let answer = classified(&self.options, &labels, &mean, None, None, seen);
            Ok(if strange { answer.strange() } else { answer })
        };
        Ok(asked.into_iter().zip(labels).map(one).collect())
    }

    async fn entailed(
        &self,
        asks: Vec<Labelled>,
        template: &str,
        rows: (usize, usize),
    ) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let mut done = Vec::with_capacity(asks.len());
        let mut group: Vec<Labelled> = Vec::new();
        let mut pairs = 0;
        for ask in asks {
            if pairs + ask.1.len() > PAIRS && !group.is_empty() {
                done.extend(self.entailed_together(std::mem::take(&mut group), template, rows).await?);
                pairs = 0;
            }
            pairs += ask.1.len();
            group.push(ask);
        }
        done.extend(self.entailed_together(group, template, rows).await?);
        Ok(done)
    }

    async fn entailed_together(
        &self,
        asks: Vec<Labelled>,
        template: &str,
        rows: (usize, usize),
    ) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let (encoder, policy) = (&*self.encoder, self.options.too_long);
        let mut texts = Vec::new();
        let refused: Vec<Option<Rejection>> = asks
            .iter()
            .map(|(ask, labels)| {
                let written = |label: &String| harmless(encoder.tokenizer(), template.replace("{}", label), None);
                let hypotheses: Vec<String> = labels.iter().map(written).collect();
                let refused = if ask.pair.is_some() {
                    let detail = "a pair cannot be compared with labels; the back end `nli` reads the label as the second text";
                    Some(Rejection::new("unexpected_field", detail).at("text_pair"))
                } else {
                    hypotheses.iter().enumerate().find_map(|(place, text)| too_long(encoder, place, text))
                };
                if refused.is_none() {
                    let premise = harmless(encoder.tokenizer(), ask.text.clone(), None);
                    texts.extend(hypotheses.into_iter().map(|hypothesis| Text::pair(premise.as_str(), hypothesis)));
                }
                refused
            })
            .collect();
        let cut = windows::cut(encoder, policy, self.options.stride);
        // The hypothesis takes up to half of a window; what is left must be more than the overlap.
        let stride = cut.stride.map(|stride| stride.min(encoder.max_tokens() / 4));
        let cut = Cut { give: Give::First, stride, ..cut };
        let asked = windows::windows(encoder, texts, cut, policy).await?;
        let mut strange = windows::strange_ones(encoder, &asked).into_iter();
        let mut pairs = Vec::with_capacity(asked.len());
        let mut kept = Vec::with_capacity(asked.len());
        for one in asked {
            kept.push(one.map(|windows| pairs.push(windows)));
        }
        let (mut kept, mut answered) = (kept.into_iter(), answers(encoder, Head::Logits, pairs).await?.into_iter());
        let one = |((_, labels), refused): ((Passage, Vec<String>), Option<Rejection>)| {
            if let Some(refused) = refused {
                return Err(refused);
            }
            let (mut logits, mut seen, mut too_long) = (Vec::with_capacity(labels.len()), Seen::default(), None);
            let strange = strange.by_ref().take(labels.len()).fold(false, |any, one| any | one);
            for kept in kept.by_ref().take(labels.len()) {
                match kept {
                    Ok(()) => {
                        let windows = answered.next().unwrap_or_default();
                        logits.push(mean(&windows, rows));
                        seen = seen.and(Seen::of(&windows));
                    }
                    Err(refused) => too_long = Some(refused),
                }
            }
            match too_long {
                Some(refused) => Err(refused),
                None => {
                    let each = self.options.multi_label || labels.len() == 1;
                    let scores = if each { each_by_itself(&logits) } else { one_of_them(&logits) };
                    let holds_from = self.options.threshold.filter(|_| self.options.multi_label);
                    let answer = classified(&self.options, &labels, &scores, holds_from, None, seen);
                    Ok(if strange { answer.strange() } else { answer })
                }
            }
        };
        Ok(asks.into_iter().zip(refused).map(one).collect())
    }
}

/// Refuses labels that say nothing: a single one where cosines are compared, and those that are the same to the model.
pub fn unfit(encoder: &Encoder, way: &Way, labels: &[String]) -> Option<Rejection> {
    match (labels, way) {
        ([_], Way::Embeddings { .. }) => Some(Rejection::new("one_label", super::ONE_LABEL).at("candidate_labels")),
        (labels, _) => alike(encoder, labels),
    }
}

/// Refuses labels of which the model knows no token, and such as have the tokens of another.
fn alike(encoder: &Encoder, labels: &[String]) -> Option<Rejection> {
    let mut known = HashMap::new();
    for (place, label) in labels.iter().enumerate() {
        let (code, detail) = match encoder.tokenizer().plain(label, encoder.max_tokens()) {
            _ if !encoder.tokenizer().knows(label) => (
                "unknown_label",
                format!("the model knows no token of label {place}; it was not made for its language or script"),
            ),
            Ok((tokens, _)) => match known.insert(tokens, place) {
                Some(first) => ("colliding_labels", format!("labels {first} and {place} are the same to the model")),
                None => continue,
            },
            // Who tokenises it next tells the error.
            Err(_) => continue,
        };
        return Some(Rejection::new(code, detail).at(format!("candidate_labels.{place}")));
    }
    None
}

/// A hypothesis is kept whole, so that it must leave room for the text.
fn too_long(encoder: &Encoder, place: usize, hypothesis: &str) -> Option<Rejection> {
    let most = encoder.max_tokens() / 2;
    let fits = matches!(encoder.tokenizer().plain(hypothesis, most), Ok((_, false)));
    (!fits).then(|| {
        let detail = format!("with its template the label has more than {most} tokens, half of what the model sees");
        Rejection::new("label_too_long", detail).at(format!("candidate_labels.{place}"))
    })
}

/// Entailment and contradiction over the windows, by their tokens.
fn mean(windows: &[Window], (entailment, contradiction): (usize, usize)) -> (f32, f32) {
    let all = windows.iter().map(|window| window.answer.tokens).sum::<usize>().max(1) as f32;
    let add = |(e, c): (f32, f32), window: &Window| {
        let share = window.answer.tokens as f32 / all;
        (e + share * window.answer.values[entailment], c + share * window.answer.values[contradiction])
    };
    windows.iter().fold((0.0, 0.0), add)
}

fn one_of_them(logits: &[(f32, f32)]) -> Vec<f32> {
    let mut scores: Vec<f32> = logits.iter().map(|(entailment, _)| *entailment).collect();
    softmax(&mut scores);
    scores
}

fn each_by_itself(logits: &[(f32, f32)]) -> Vec<f32> {
    logits.iter().map(|(entailment, contradiction)| 1.0 / (1.0 + (contradiction - entailment).exp())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a model of very many labels that does not load for a limit that is meant for lists in events.
    #[test]
    fn only_candidates_are_counted() {
        let many: Vec<String> = (0..1_001).map(|n| format!("label {n}")).collect();
        assert!(super::super::distinct(&many).is_ok());
        assert_eq!(checked(many).unwrap_err().code, "too_many_items");
        assert_eq!(checked(Vec::new()).unwrap_err().code, "empty_list");
    }
}
