//! A text's vector and what several heads say of it, from one pass through the encoder that they stand on.

use super::ask::text_weight;
use super::engine::{Engine, Reply, Request, Shared, not_finite, total};
use super::once::Once;
use super::{Answer, Encoder, Head};
use crate::inference::InferenceError;
use crate::inference::network::Sequence;
use crate::inference::results::{Key, Question};
use crate::inference::tokenizer::{Cut, Text, Tokens};
use crate::inference::worked;
use std::sync::Arc;

/// What an encoder and heads on it say of one text.
#[derive(Debug, Clone)]
pub struct Together {
    /// As [`Head::Embed`] has it.
    pub embedding: Answer,
    /// Of each head, in order, what [`Head::Classify`] has: `[heads][labels]`.
    pub scores: Vec<Vec<f32>>,
    /// Whether the encoder, or a head that runs apart and sees less, has not seen the end of the text.
    pub truncated: bool,
}

impl Encoder {
    /// One answer a text, in the same order: its vector, and the scores of each head. The heads that stand on this encoder (see
    /// [`Encoder::shares_backbone`]) cost no pass of their own; others run apart. A model without labels is an error.
    pub async fn answer_heads(&self, heads: &[&Encoder], texts: Vec<String>) -> Result<Vec<Together>, InferenceError> {
        if let Some(bare) = heads.iter().find(|head| head.labels().is_none()) {
            return Err(InferenceError::Poison(format!("the model {} has no head for labels of a text", bare.id())));
        }
        let mut apart = Vec::with_capacity(heads.len());
        for head in heads {
            let answers = match self.shares_backbone(head) {
                true => None,
                false => Some(head.answer(Head::Classify, texts.clone()).await?.into_iter()),
            };
            apart.push(answers);
        }
        let near: Vec<&Encoder> = heads.iter().filter(|head| self.shares_backbone(head)).copied().collect();
        let mut all = self.in_one_pass(&near, texts.into_iter().map(Text::from).collect()).await?;
        for one in &mut all {
            let mut near = std::mem::take(&mut one.scores).into_iter();
            let truncated = &mut one.truncated;
            let next = |apart: &mut Option<std::vec::IntoIter<Answer>>| match apart {
                Some(answers) => answers.next().map(|answer| {
                    *truncated |= answer.truncated;
                    answer.values
                }),
                None => near.next(),
            };
            let scores: Option<Vec<Vec<f32>>> = apart.iter_mut().map(next).collect();
            one.scores = scores.ok_or_else(|| InferenceError::Poison("a head gave no answer".to_owned()))?;
        }
        Ok(all)
    }

    async fn in_one_pass(&self, heads: &[&Encoder], texts: Vec<Text>) -> Result<Vec<Together>, InferenceError> {
        let (longest, results) = (self.max_tokens(), &self.options.results);
        let models = std::iter::once(self).chain(heads.iter().copied()).map(Encoder::contents);
        let question = Question::new(models, "together").cut(&Cut::default());
        let mut once = Once::new(texts, results, self.options.merge, |text| Key::of_text(question, text));
        let shared: Vec<Arc<Shared>> = heads.iter().map(|head| Arc::clone(&head.shared)).collect();
        let new = std::mem::take(&mut once.new);
        let weight = |text: &Text| text_weight(text, longest);
        let requests = self.shared_out(new, weight, |texts| Request::Together(shared.clone(), texts));
        let replies = self.infer(requests).await?;
        let answers = replies.into_iter().flat_map(|reply| reply.together).map(Together::joined).collect();
        let counts: Vec<usize> = heads.iter().map(|head| head.labels().map_or(0, <[String]>::len)).collect();
        let answers = once.answers(answers, &[], results)?.into_iter();
        Ok(answers.map(|answer| Together::parted(answer, self.dimensions(), &counts)).collect())
    }
}

impl Together {
    /// All numbers one after the other, as they are kept.
    fn joined(mut self) -> Answer {
        self.scores.iter().for_each(|scores| self.embedding.values.extend_from_slice(scores));
        self.embedding
    }

    /// The other way, for heads of so many labels each.
    fn parted(mut joined: Answer, dimensions: usize, counts: &[usize]) -> Self {
        let mut rest = joined.values.split_off(dimensions.min(joined.values.len()));
        let take = |count: &usize| {
            let after = rest.split_off((*count).min(rest.len()));
            std::mem::replace(&mut rest, after)
        };
        let scores = counts.iter().map(take).collect();
        Self { truncated: joined.truncated, embedding: joined, scores }
    }
}

impl Engine {
    /// The heads stand on this engine's encoder.
    pub(super) fn together(&mut self, heads: &[Arc<Shared>], texts: &[Text]) -> Result<Reply, InferenceError> {
        let tokens = self.shared.tokens(texts, &Cut::default())?;
        let empty = |tokens: &Tokens| Together {
            embedding: Answer { values: Vec::new(), tokens: tokens.ids.len(), truncated: tokens.truncated },
            scores: Vec::with_capacity(heads.len()),
            truncated: tokens.truncated,
        };
        let mut together: Vec<Together> = tokens.iter().map(empty).collect();
        // Where nobody reads more of the network than the vector, it may be there already.
        if heads.iter().all(|head| head.reads_embedding(Head::Classify)) {
            let (vectors, _) = self.shared.vectors(&tokens)?;
            for head in heads {
                let scores = head.of_embeddings(Head::Classify, vectors.clone())?;
                together.iter_mut().zip(scores).for_each(|(one, scores)| one.scores.push(scores));
            }
            together.iter_mut().zip(vectors).for_each(|(one, vector)| one.embedding.values = vector);
        } else {
            self.one_pass(heads, &tokens, &mut together)?;
        }
        let numbers = |one: &Together| one.embedding.values.iter().chain(one.scores.iter().flatten()).all(|v| v.is_finite());
        match together.iter().all(numbers) {
            true => Ok(Reply { together, ..Reply::default() }),
            false => Err(not_finite()),
        }
    }

    fn one_pass(&self, heads: &[Arc<Shared>], tokens: &[Tokens], together: &mut [Together]) -> Result<(), InferenceError> {
        let loaded = self.shared.backbone.lease()?;
        let (network, mut scratch) = (&*loaded.network, loaded.scratch());
        for batch in self.shared.batches(tokens.iter()) {
            let texts: Vec<Sequence<'_>> = batch.iter().map(|&i| tokens[i].sequence()).collect();
            worked::add(total(&texts));
            network.encode(&texts, &mut scratch)?;
            let vectors = self.shared.read(Head::Embed, network, &texts, &scratch.x)?;
            batch.iter().zip(vectors).for_each(|(&i, vector)| together[i].embedding.values = vector);
            for head in heads {
                let scores = head.read(Head::Classify, network, &texts, &scratch.x)?;
                batch.iter().zip(scores).for_each(|(&i, scores)| together[i].scores.push(scores));
            }
        }
        loaded.put_back(scratch);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::backbone::Backbone;
    use crate::inference::checkpoint::ModelConfig;
    use crate::inference::handle::Model;
    use crate::inference::heads::Heads;
    use crate::inference::network;
    use crate::inference::network::watching::Watching;
    use crate::inference::tokenizer::TextTokenizer;
    use crate::inference::weights::Weights;
    use crate::inference::{Options, Results, Threads};
    use std::path::{Path, PathBuf};
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions").join(name)
    }

    /// Would catch: a pass for each head, scores that differ from those of the head alone, heads or texts in another order.
    #[test]
    fn heads_on_one_encoder_cost_one_pass() {
        let (folder, passes) = (fixture("one"), Arc::new(AtomicUsize::new(0)));
        let (config, weights) = (ModelConfig::open(&folder).unwrap(), Weights::open(&folder, None).unwrap());
        let tensors = weights.tensors().unwrap();
        let network = network::load(&config, &tensors).unwrap();
        let tokenizer = TextTokenizer::open(&folder, network.max_tokens()).unwrap();
        let heads = [(); 2].map(|()| Heads::load(&config, &tensors, &*network).unwrap());
        let counted = passes.clone();
        let network = Box::new(Watching(network, move |_: &[Sequence<'_>]| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }));
        let backbone = Arc::new(Backbone::of(network, tokenizer, weights.digest().clone()));
        let shared = |heads| Shared {
            backbone: backbone.clone(),
            heads,
            token_budget: 512,
            sorted: true,
            firsts: true,
            results: Results::default(),
            merge: true,
        };
        let heads = heads.map(|heads| Arc::new(shared(heads)));
        let mut engine = Engine { shared: heads[0].clone() };
        let texts: Vec<Text> = ["good film", "a bad, bad film", "good"].map(|text| Text::from(text.to_owned())).into();
        let together = engine.infer(Request::Together(heads.to_vec(), texts.clone())).unwrap().together;
        assert_eq!((together.len(), passes.swap(0, Ordering::Relaxed)), (3, 1));
        let mut alone = |head| engine.infer(Request::Texts(head, texts.clone(), Cut::default())).unwrap().answers;
        let (vectors, scores) = (alone(Head::Embed), alone(Head::Classify));
        assert_eq!(passes.load(Ordering::Relaxed), 2);
        for ((one, vector), scores) in together.iter().zip(&vectors).zip(&scores) {
            assert_eq!((&one.embedding.values, one.embedding.tokens), (&vector.values, vector.tokens));
            assert_eq!(one.scores, [scores.values.clone(), scores.values.clone()]);
        }
    }

    /// Would catch: a head on another encoder whose scores land in another place, or are read from the wrong vectors.
    #[tokio::test]
    async fn heads_elsewhere_answer_in_their_place() {
        let options = Options { threads: Threads::Exactly(2), ..Options::default() };
        let open = |name: &str| Encoder::open(name, &fixture(name), None, &options).unwrap();
        let (own, many, bare) = (open("one"), open("many"), open("fill"));
        let texts: Vec<String> = (0..9).map(|i| "good film ".repeat(1 + i % 4)).collect();
        let together = own.answer_heads(&[&many, &own], texts.clone()).await.unwrap();
        let (vectors, own_scores) =
            (own.answer(Head::Embed, texts.clone()).await.unwrap(), own.answer(Head::Classify, texts.clone()).await.unwrap());
        let many_scores = many.answer(Head::Classify, texts.clone()).await.unwrap();
        assert_eq!(together.len(), texts.len());
        for (i, one) in together.iter().enumerate() {
            assert_eq!(one.embedding.values, vectors[i].values);
            assert_eq!(one.scores, [many_scores[i].values.clone(), own_scores[i].values.clone()]);
        }
        assert!(own.answer_heads(&[&bare], texts).await.unwrap_err().to_string().contains("no head for labels"));
    }
}
