//! Functions of texts that are named on the command line.

use super::common::{self, Usage};
use crate::function::copy::Copy;
use crate::function::embed::Embed;
use crate::function::generate::Generate;
use crate::function::model::{Kind, Model, Opened};
use crate::function::sentiment::Sentiment;
use crate::function::{Function, TEXT_FUNCTIONS, text_function};
use crate::hub::Found;
use crate::inference::{Encoder, Options};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// What is asked for.
pub struct Named<'a> {
    pub function: &'a str,
    /// A folder or a name; `None` is the function's starter.
    pub model: Option<&'a Path>,
    /// Labels come with the call, so that `classify` needs a model that was trained for none.
    pub labelled: bool,
    pub allow_download: bool,
}

impl Named<'_> {
    /// The model that is named, or the starter of the function.
    fn find(&self) -> anyhow::Result<Found> {
        let starter = match self.function {
            _ if self.model.is_some() => "",
            "classify" if self.labelled => "minilm-en",
            "sentiment" | "classify" => "sentiment-en",
            "answer" => "answer-en",
            "embed" | "similar" | "rerank" | "summarize" | "reply" => "minilm-en",
            other => return Err(Usage(format!("there is no starter model for `{other}`; name a folder with --model")).into()),
        };
        common::model(self.model.unwrap_or(Path::new(starter)), self.allow_download)
    }
}

/// The function with these options. Blocks while its model is read.
pub fn open(named: &Named<'_>, options: &Map<String, Value>) -> anyhow::Result<Arc<dyn Function>> {
    Ok(match named.function {
        "sentiment" => Arc::new(Sentiment::new(encoder(&named.find()?)?)?.with(options).map_err(Usage)?),
        "embed" => Arc::new(Embed::new(encoder(&named.find()?)?).with(options).map_err(Usage)?),
        "copy" => Arc::new(Copy::new(options).map_err(Usage)?),
        "generate" => Arc::new(Generate::new(Generate::open(&named.find()?.folder)?, options).map_err(Usage)?),
        text if TEXT_FUNCTIONS.contains(&text) => {
            let model = named.find()?;
            let open = Model::open(&model.name, &model.folder, text, options)?;
            // What is wrong with a model is told with the folder that it was read from.
            let located = |cause: String| match cause.contains("the model ") {
                true => Usage(format!("{cause}; the model is {}", model.folder.display())),
                false => Usage(cause),
            };
            text_function(text, open, options).map_err(located)?
        }
        name @ ("risk" | "recommend") => {
            let what = if name == "risk" { "features" } else { "signals" };
            return Err(Usage(format!("`{name}` needs the {what} of a pipeline; name its file with --config")).into());
        }
        other => {
            let known = TEXT_FUNCTIONS.join(", ");
            let said = format!("there is no function `{other}`; known: sentiment, embed, generate, copy, risk, {known}");
            return Err(Usage(said).into());
        }
    })
}

/// The encoder of a function that reads. What writes a text from a text has vectors too, but they say little.
fn encoder(model: &Found) -> anyhow::Result<Arc<Encoder>> {
    if Kind::of(&model.folder)? == Kind::TextToText {
        let folder = model.folder.display();
        let said = format!(
            "{folder} is a model that writes a text from a text (translate, summarize); take one that reads, such as minilm-en"
        );
        return Err(Usage(said).into());
    }
    Ok(Arc::new(Encoder::open(&model.name, &model.folder, None, &Options::default())?))
}
