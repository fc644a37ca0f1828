//! The piece of a text that answers a question.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let model = std::env::args().nth(2).unwrap_or_else(|| "answer-en".to_owned());
    let context = "Refunds are paid within five days. Parcels leave our house on Monday and on Thursday.";
    let answer = millrace::answer(&model)?.top_k(2).load()?;
    for found in answer.call(("How long do refunds take?", context))?.answers {
        println!("{} {:.3}", found.answer, found.score);
    }
    Ok(())
}
