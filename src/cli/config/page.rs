//! The reference as a page of Markdown.

use super::keys::{Key, Section};

const HEAD: &str = "\
# Configuration

Every key of the config file. This page is written by `millrace config reference`, out of the types that read the file; a test fails
when it is out of date. [deploy/millrace.toml](../deploy/millrace.toml) is a commented sample, `deploy/samples` has more.

- A config is one TOML file. A key that is not known is an error; the message names the line and the nearest key that is.
- A key can come from the environment, which goes before the file. `NAME` stands for the name of a pipeline or a model, in capitals, with
  `_` for `-` and `.`. A value is read as TOML where it can be, else as text: `true`, `5`, `[\"a\", \"b\"]`, `localhost:9092`. Keys of lists
  of tables have no variable.
- A time is a whole number with `s`, `m`, `h` or `d`, such as `30m`.
- Relative paths start at the folder of the config file.
- `millrace config schema` prints a JSON schema ([millrace.schema.json](millrace.schema.json)). Editors that know TOML complete and check by
  it: write `#:schema PATH/millrace.schema.json` as the first line of the config.
- `millrace check --config FILE` tells everything that is wrong with a file; `--connect` also asks Kafka, Postgres and the models.
";

/// The whole page.
pub fn page(sections: &[Section]) -> String {
    let mut page = HEAD.to_owned();
    for section in sections {
        page += &format!("\n## {}\n", section.title);
        if section.words.len() > section.title.len() + 1 {
            page += &format!("\n{}\n", section.words);
        }
        if !section.keys.is_empty() {
            page += "\n| key | type | default | meaning | environment |\n| --- | --- | --- | --- | --- |\n";
            section.keys.iter().for_each(|key| page += &row(key));
        }
    }
    page
}

/// With the number that stands for it in a file, where the words have another unit.
fn default(key: &Key) -> String {
    match &key.machine {
        Some(number) if number.is_number() && key.default.contains("iB") => format!("{} (`{number}`)", key.default),
        _ => key.default.clone(),
    }
}

fn row(key: &Key) -> String {
    let env = key.env.as_ref().map_or(String::new(), |env| format!("`{env}`"));
    let cells = [format!("`{}`", key.name), key.kind.clone(), default(key), key.words.clone(), env];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}
