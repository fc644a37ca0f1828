//! How near sentences are to one.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let sentences = ["What is the exchange rate?", "My card is missing.", "It rains in Spain."];
    let similar = millrace::similar("minilm-en")?.load()?;
    let scores = similar.call(("I lost my card.", sentences))?.scores;
    let mut order: Vec<usize> = (0..sentences.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    for place in order {
        println!("{} {:.3}", sentences[place], scores[place]);
    }
    Ok(())
}
