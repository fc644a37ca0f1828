//! A causal model goes on with a text, or answers it where it has a chat template.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("generate", "a causal language model") else { return Ok(()) };
    let generate = millrace::generate(&folder)?.option("max_new_tokens", 40)?;
    println!("{}", generate.call("Once upon a time")?.text);
    Ok(())
}
