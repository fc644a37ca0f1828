//! Texts by how well they fit a query.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let texts = ["Parcels leave on Monday.", "Refunds are paid in five days.", "We sell shoes and shirts."];
    let rerank = millrace::rerank("minilm-en")?.top_k(2).load()?;
    for found in rerank.call(("How long do refunds take?", texts))?.ranks {
        println!("{} {:.3}", texts[found.index], found.score);
    }
    Ok(())
}
