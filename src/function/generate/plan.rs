//! What becomes of the options once, for a model.

use super::options::Options;
use crate::function::options::{EarlyStopping, TooLong};
use crate::inference::causal::{self, BeamOptions};
use crate::inference::generate::{Guide, JsonGuide, JsonTokens, LabelGuide, Labels, Sampling, Schema, Vocabulary, Writer};
use std::sync::Arc;

const MAX_STOPS: usize = 16;
const MAX_TOP: usize = 20;
/// Each takes a cache of its own.
const MAX_BEAMS: usize = 16;
const MAX_ANSWERS: usize = 8;

/// What an output is held to.
enum Form {
    Labels(Arc<Labels>),
    Json(Arc<JsonTokens>),
}

/// The options as one model takes them.
pub struct Plan {
    pub options: Options,
    pub sampling: Arc<Sampling>,
    pub chat: bool,
    /// At least what the form needs.
    pub max_new_tokens: usize,
    /// Where several answers are followed at the same time.
    pub beams: Option<BeamOptions>,
    form: Option<Form>,
}

impl Plan {
    pub fn new(options: Options, writer: &Writer) -> Result<Self, String> {
        check(&options, writer.room())?;
        let chat = options.chat.unwrap_or(writer.template().is_some());
        if chat && writer.template().is_none() {
            return Err("option `chat` is true, and the model has no chat template".into());
        }
        if !chat && options.system.is_some() {
            return Err("option `system` needs a model with a chat template; write it into `prompt`".into());
        }
        if options.prompt.as_ref().is_some_and(|prompt| !prompt.contains("{text}")) {
            return Err("option `prompt` has no {text} in it, where the event's text goes".into());
        }
        let sampling = Arc::new(sampling(&options, writer)?);
        let vocabulary = writer.vocabulary();
        let form = match (&options.labels.0[..], &options.schema) {
            ([], None) => None,
            ([], Some(schema)) => {
                let in_schema = |cause: String| format!("option `schema`: {cause}");
                let tokens = JsonTokens::new(Schema::parse(schema).map_err(in_schema)?, vocabulary).map_err(in_schema)?;
                if tokens.least() > options.max_new_tokens {
                    let (least, most) = (tokens.least(), options.max_new_tokens);
                    return Err(format!("option `max_new_tokens` is {most}; the shortest value of `schema` may need {least}"));
                }
                Some(Form::Json(Arc::new(tokens)))
            }
            (labels, None) => Some(Form::Labels(Arc::new(tokens_of(labels, vocabulary)?))),
            _ => return Err("options `labels` and `schema` exclude each other".into()),
        };
        let longest = match &form {
            Some(Form::Labels(labels)) => labels.longest() + 1,
            _ => 0,
        };
        let max_new_tokens = options.max_new_tokens.max(longest);
        if max_new_tokens >= writer.room() {
            return Err(format!("the longest of `labels` has {longest} tokens, the model sees {}", writer.room()));
        }
        let beams = beams(&options)?;
        let others = beams.map_or(options.num_return_sequences, |beams| beams.beams) - 1;
        if writer.room_for(max_new_tokens, others) == 0 {
            return Err(format!(
                "the cache has no room for {} answers of {max_new_tokens} tokens at once; lower `num_beams`, `num_return_sequences` or `max_new_tokens`",
                others + 1
            ));
        }
        Ok(Self { options, sampling, chat, max_new_tokens, beams, form })
    }

    /// Whether an answer has each of its tokens.
    pub fn tells_tokens(&self) -> bool {
        self.options.logprobs || self.options.top_logprobs > 0
    }

    /// For one text.
    pub fn guide(&self, vocabulary: &Arc<Vocabulary>) -> Option<Box<dyn Guide>> {
        Some(match self.form.as_ref()? {
            Form::Labels(labels) => Box::new(LabelGuide::new(Arc::clone(labels))),
            Form::Json(tokens) => Box::new(JsonGuide::new(Arc::clone(tokens), Arc::clone(vocabulary))),
        })
    }
}

fn check(options: &Options, room: usize) -> Result<(), String> {
    let within =
        |name: &str, value: f32, low: f32, high: f32, words: &str| match value.is_finite() && value >= low && value <= high {
            true => Ok(()),
            false => Err(format!("option `{name}` is {value}; write {words}")),
        };
    within("temperature", options.temperature, 0.0, 100.0, "0 to 100")?;
    within("top_p", options.top_p, f32::MIN_POSITIVE, 1.0, "more than 0, up to 1")?;
    within("min_p", options.min_p, 0.0, 1.0, "0 to 1")?;
    within("typical_p", options.typical_p, f32::MIN_POSITIVE, 1.0, "more than 0, up to 1")?;
    within("repetition_penalty", options.repetition_penalty, 0.01, 100.0, "0.01 to 100")?;
    within("frequency_penalty", options.frequency_penalty, -2.0, 2.0, "-2 to 2")?;
    within("presence_penalty", options.presence_penalty, -2.0, 2.0, "-2 to 2")?;
    if options.max_new_tokens == 0 || options.max_new_tokens >= room {
        return Err(format!(
            "option `max_new_tokens` is {}; write 1 to {}, the model sees {room}",
            options.max_new_tokens,
            room - 1
        ));
    }
    if options.min_new_tokens > options.max_new_tokens {
        return Err(format!("option `min_new_tokens` is above `max_new_tokens`, {}", options.max_new_tokens));
    }
    if options.stop.0.len() > MAX_STOPS || options.stop.0.iter().any(String::is_empty) {
        return Err(format!("option `stop` takes up to {MAX_STOPS} texts, none of them empty"));
    }
    if options.top_logprobs > MAX_TOP {
        return Err(format!("option `top_logprobs` is {}; {MAX_TOP} at most", options.top_logprobs));
    }
    match options.too_long {
        TooLong::Window => Err("option `too_long`: a prompt has no windows; `truncate` or `reject`".into()),
        _ => Ok(()),
    }
}

/// How several answers are found, and what does not go with it.
fn beams(options: &Options) -> Result<Option<BeamOptions>, String> {
    let (beams, answers) = (options.num_beams, options.num_return_sequences);
    if !(1..=MAX_BEAMS).contains(&beams) {
        return Err(format!("option `num_beams` is {beams}; write 1 to {MAX_BEAMS}"));
    }
    if !(1..=MAX_ANSWERS).contains(&answers) {
        return Err(format!("option `num_return_sequences` is {answers}; write 1 to {MAX_ANSWERS}"));
    }
    if beams == 1 {
        return match answers > 1 && options.temperature == 0.0 {
            true => Err(format!(
                "option `num_return_sequences` is {answers}, and with `temperature` 0 all answers would be the same; raise it, or \
                 set `num_beams`"
            )),
            false => Ok(None),
        };
    }
    if answers > beams {
        return Err(format!("option `num_return_sequences` is {answers}; {beams} beams have {beams} answers at most"));
    }
    let others = [
        ("temperature", options.temperature != 0.0),
        ("labels", !options.labels.0.is_empty()),
        ("schema", options.schema.is_some()),
        ("logprobs", options.logprobs || options.top_logprobs > 0),
    ];
    if let Some((name, _)) = others.iter().find(|(_, set)| *set) {
        return Err(format!("option `{name}` does not go with `num_beams`; leave one of them out"));
    }
    if !options.length_penalty.is_finite() {
        return Err(format!("option `length_penalty` is {}; write a number", options.length_penalty));
    }
    let early_stopping = match options.early_stopping {
        EarlyStopping::No => causal::EarlyStopping::Likely,
        EarlyStopping::Yes => causal::EarlyStopping::Full,
        EarlyStopping::Never => causal::EarlyStopping::Certain,
    };
    Ok(Some(BeamOptions { beams, length_penalty: options.length_penalty, early_stopping }))
}

fn sampling(options: &Options, writer: &Writer) -> Result<Sampling, String> {
    let mut bad_words = Vec::new();
    for word in &options.bad_words {
        // A word stands at the beginning of a text, or behind a blank.
        for text in [word.clone(), format!(" {word}")] {
            let ids = writer.vocabulary().plain(&text, false).map_err(|error| error.to_string())?;
            if word.is_empty() || ids.is_empty() {
                return Err("option `bad_words` holds an empty text".into());
            }
            bad_words.push(ids);
        }
    }
    let mut logit_bias = Vec::new();
    for (id, bias) in &options.logit_bias {
        let bias = bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias));
        match (id.parse::<u32>().ok().filter(|id| (*id as usize) < writer.ids()), bias) {
            (Some(id), Some(bias)) => logit_bias.push((id, bias as f32)),
            _ => {
                return Err(format!(
                    "option `logit_bias`: {id:?} must be a token id below {} with a number from -100 to 100",
                    writer.ids()
                ));
            }
        }
    }
    Ok(Sampling {
        temperature: options.temperature,
        top_k: options.top_k,
        top_p: options.top_p,
        min_p: options.min_p,
        typical_p: options.typical_p,
        repetition_penalty: options.repetition_penalty,
        frequency_penalty: options.frequency_penalty,
        presence_penalty: options.presence_penalty,
        no_repeat_ngram_size: options.no_repeat_ngram_size,
        bad_words,
        min_new_tokens: options.min_new_tokens,
        logit_bias,
        ..Sampling::default()
    })
}

fn tokens_of(labels: &[String], vocabulary: &Vocabulary) -> Result<Labels, String> {
    let mut all = Vec::new();
    for label in labels {
        let ids = vocabulary.plain(label, false).map_err(|error| format!("option `labels`: {label:?}: {error}"))?;
        all.push((label.clone(), ids));
    }
    Labels::new(all, !vocabulary.ends().is_empty()).map_err(|cause| format!("option `labels`: {cause}"))
}
