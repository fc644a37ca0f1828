//! The piece of a text that answers a question.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("answer", "a model for extractive question answering") else { return Ok(()) };
    let context = "Refunds are paid within five days. Parcels leave our house on Monday and on Thursday.";
    let answer = millrace::answer(&folder)?.top_k(2).load()?;
    for found in answer.call(("How long do refunds take?", context))?.answers {
        println!("{} {:.3}", found.answer, found.score);
    }
    Ok(())
}
