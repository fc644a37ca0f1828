//! Which of some labels fits a text. No model was trained for them: text and labels are compared as vectors.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let classify = millrace::classify("minilm-en")?.candidate_labels(["refund", "delivery delay", "praise"]).load()?;
    for text in ["I want my money back", "my parcel is three weeks late", "you were wonderful, thank you"] {
        let answer = classify.call(text)?;
        println!("{text}: {}", answer.label.unwrap_or_default());
    }
    Ok(())
}
