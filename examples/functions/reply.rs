//! Approved replies that fit a customer's message. They are suggestions: nothing is sent.

use millrace::function::reply::Message;
use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let reply = millrace::reply("minilm-en")?.bank("deploy/samples/replies.csv")?.sentiment_model("sentiment-en").load()?;
    let found = reply.call(Message::from("where is my parcel").with("name", "Ann"))?;
    for suggestion in &found.suggestions {
        println!("{}: {} ({:.3})", suggestion.source, suggestion.text, suggestion.score);
    }
    let found = reply.call("the striker scored twice")?;
    println!("no suggestion: {}", found.reason.unwrap_or_default());
    Ok(())
}
