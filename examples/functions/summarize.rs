//! The sentences that say most of a text, word for word and in their order.

use std::error::Error;

const TEXT: &str = "The parcel with my new phone arrived two weeks late. The parcel with the phone came two weeks late. \
    I called the support team five times. The screen of the phone was broken. I want a refund.";

pub fn main() -> Result<(), Box<dyn Error>> {
    let summarize = millrace::summarize("minilm-en")?.max_sentences(2).load()?;
    let summary = summarize.call(TEXT)?;
    println!("{} sentences, {} of {} characters", summary.sentences.len(), summary.summary_text.len(), TEXT.len());
    println!("{}", summary.summary_text);
    Ok(())
}
