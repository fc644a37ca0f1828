//! `millrace config`: what can stand in a config file, asked of the types that read it.

mod keys;
mod page;
mod words;

use crate::function::schema::reference;
use crate::lifecycle::Exit;
use keys::{Root, Section};
use serde_json::{Value, json};
use std::io::{ErrorKind, Write};

/// Every key of the config file: for people, or for an editor.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  millrace config schema > millrace.schema.json\n  # and as the first line of the config: #:schema ./millrace.schema.json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// A page of all keys in Markdown: type, default, environment, meaning.
    Reference {
        /// The same as one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// A JSON schema, by which editors complete and check a config.
    Schema,
}

pub fn run(args: &Args) -> anyhow::Result<Exit> {
    let text = match args.command {
        Command::Reference { json: false } => page::page(&sections()),
        Command::Reference { json: true } => serde_json::to_string(&sections())? + "\n",
        Command::Schema => serde_json::to_string_pretty(&schema())? + "\n",
    };
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has gone away, such as `head`, has read enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Done),
    }
}

/// The config file's sections, then the options of each function.
fn sections() -> Vec<Section> {
    let root = Root::new(crate::config::schema());
    let mut sections = root.sections();
    sections.push(Section::of_options("Options of all text functions", &reference::common()));
    let common = reference::common();
    for (function, mut options) in reference::options() {
        if let (Some(own), Some(shared)) = (options["properties"].as_object_mut(), common["properties"].as_object())
            && shared.keys().all(|name| own.contains_key(name))
        {
            own.retain(|name, _| !shared.contains_key(name));
        }
        sections.push(Section::of_options(&format!("Options of `{function}`"), &options));
    }
    sections
}

/// The schema of the file, where a pipeline's options depend on its function.
fn schema() -> Value {
    let mut schema = crate::config::schema();
    let by_function = reference::options().into_iter().map(|(function, options)| {
        json!({ "if": { "properties": { "function": { "const": function } } }, "then": { "properties": { "options": options } } })
    });
    schema["$defs"]["Pipeline"]["allOf"] = by_function.collect();
    schema["$defs"]["Pipeline"]["properties"]["function"]["enum"] =
        crate::config::FUNCTIONS.iter().map(|(name, _)| Value::from(*name)).collect();
    schema["title"] = "Millrace config".into();
    schema
}
