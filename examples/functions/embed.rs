//! Texts as vectors of length 1: the nearer two texts, the greater the product of their vectors.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let embed = millrace::embed("minilm-en")?;
    let vectors = embed.call_batch(["I lost my card.", "My card is missing.", "It rains in Spain."])?;
    println!("{} vectors of {} numbers", vectors.len(), vectors[0].len());
    for vector in &vectors[1..] {
        let product: f32 = vectors[0].iter().zip(vector).map(|(a, b)| a * b).sum();
        println!("{product:.3}");
    }
    Ok(())
}
