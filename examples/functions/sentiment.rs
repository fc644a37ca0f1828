//! Whether a text is positive or negative, by the starter model.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let sentiment = millrace::sentiment()?;
    let one = sentiment.call("I love it, it is wonderful")?;
    println!("{}", one.name);
    for label in sentiment.call_batch(["it is awful and I hate it", "the best phone that I ever had"])? {
        println!("{} {:.3}", label.name, label.score);
    }
    Ok(())
}
