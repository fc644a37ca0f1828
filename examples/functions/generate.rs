//! A causal model goes on with a text, or answers it where it has a chat template.

use millrace::function::generate::Generate;
use millrace::function::offline::{Offline, Plain, call};
use serde_json::json;
use std::error::Error;
use std::path::Path;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("generate", "a causal language model") else { return Ok(()) };
    let options = serde_json::from_value(json!({ "max_new_tokens": 40 }))?;
    let generate = Generate::new(Generate::open(Path::new(&folder))?, &options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let asked = [json!("Once upon a time")];
    for output in runtime.block_on(call(&generate, &mut *Plain.sitting(), 0, &asked))? {
        println!("{}", output["generated_text"].as_str().unwrap_or_default());
    }
    Ok(())
}
