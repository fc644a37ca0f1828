//! By the labels that the model was trained for.

use super::{Apply, Classified, Options, Passage, Reading, classified};
use crate::event::Rejection;
use crate::function::CallError;
use crate::function::windows::{self, Seen, Window, answers, in_place, weighted};
use crate::inference::{Encoder, Head as Asked, Problem};

/// The score from which a label holds where neither the options nor the model say.
const HOLDS_FROM: f32 = 0.5;

/// Whether several labels of the model may hold at once. Of a single label that is so where the folder says from which score it holds, as
/// training writes it; else its score is a number.
pub fn several_may_hold(encoder: &Encoder) -> bool {
    let several = encoder.labels().is_some_and(|labels| labels.len() > 1) || encoder.described().threshold.is_some();
    encoder.problem() == Some(Problem::ManyLabels) && several
}

/// The model's sequence head.
pub struct Head {
    labels: Vec<String>,
    apply: Apply,
    /// Where several labels may hold: the score from which one does.
    holds_from: Option<f32>,
}

impl Head {
    /// `None` for a model without one.
    pub fn of(encoder: &Encoder, options: &Options) -> Result<Option<Self>, String> {
        let (Some(labels), Some(problem)) = (encoder.labels(), encoder.problem()) else {
            return match options.labels {
                None => Ok(None),
                Some(_) => Err("option `labels` renames labels, but the model has none of its own".to_owned()),
            };
        };
        let labels = match &options.labels {
            None => labels.to_vec(),
            Some(names) if names.len() != labels.len() => {
                let (given, own) = (names.len(), labels.len());
                return Err(format!("option `labels` names {given} labels, but the model has {own}: {}", labels.join(", ")));
            }
            Some(names) => names.iter().map(|name| name.trim().to_owned()).collect(),
        };
        super::distinct(&labels).map_err(|refused| format!("option `labels`: {}", refused.detail))?;
        let many = several_may_hold(encoder);
        if !many && options.threshold.is_some() && options.candidate_labels.is_none() && !options.multi_label {
            return Err("option `threshold` is for models of which several labels may hold; use `min_score`".to_owned());
        }
        if many && options.min_score.is_some() {
            return Err("option `min_score` is for models of which one label holds; use `threshold`".to_owned());
        }
        let apply = options.function_to_apply.unwrap_or(match problem {
            Problem::Regression => Apply::None,
            Problem::OneLabel if labels.len() > 1 => Apply::Softmax,
            Problem::OneLabel | Problem::ManyLabels => Apply::Sigmoid,
        });
        // The model's own threshold is one of sigmoids.
        let own = encoder.described().threshold.filter(|_| apply != Apply::Softmax).unwrap_or(HOLDS_FROM);
        // What holds by its sigmoid holds by its logit too, however it is shown.
        let own = if apply == Apply::None { (own / (1.0 - own)).ln() } else { own };
        let holds_from = many.then(|| options.threshold.unwrap_or(own));
        Ok(Some(Self { labels, apply, holds_from }))
    }

    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// Whether a label is called by a number, as in a model that was saved without names.
    pub fn is_unnamed(&self) -> bool {
        self.labels.iter().any(|label| label.strip_prefix("LABEL_").is_some_and(|rest| rest.parse::<u32>().is_ok()))
    }

    /// The mean of the windows' scores, weighted by their tokens.
    fn scores(&self, windows: &[Window]) -> Vec<f32> {
        weighted(windows, |window| {
            let mut scores = window.answer.values.clone();
            self.apply.to(&mut scores);
            scores
        })
    }
}

impl Reading {
    pub(super) async fn by_head(&self, asks: Vec<Passage>) -> Result<Vec<Result<Classified, Rejection>>, CallError> {
        let Some(head) = self.head.as_ref().filter(|_| !asks.is_empty()) else { return Ok(Vec::new()) };
        let (encoder, policy) = (&*self.encoder, self.options.too_long);
        let texts = asks.into_iter().map(|ask| windows::text(encoder, ask.text, ask.pair)).collect();
        let cut = windows::cut(encoder, policy, self.options.stride);
        let mut asked = windows::windows(encoder, texts, cut, policy).await?;
        let strange: Vec<bool> = windows::strange_ones(encoder, &asked);
        let tokens = asked.iter_mut().filter_map(|asked| asked.as_mut().ok()).map(std::mem::take).collect();
        let answered = answers(encoder, Asked::Logits, tokens).await?;
        let one = |windows: Vec<Window>| {
            classified(&self.options, &head.labels, &head.scores(&windows), head.holds_from, Some(1), Seen::of(&windows))
        };
        let answers = in_place(asked, answered.into_iter().map(one)).into_iter().zip(strange);
        Ok(answers.map(|(answer, strange)| if strange { answer.map(Classified::strange) } else { answer }).collect())
    }
}
