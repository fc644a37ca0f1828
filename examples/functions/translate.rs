//! A text in another language, by a model of T5's or Marian's family.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("translate", "a model that translates") else { return Ok(()) };
    // T5 and Marian's models for several languages also want `.option("tgt_lang", ...)`.
    let translate = millrace::translate(&folder)?.num_beams(2).load()?;
    println!("{}", translate.call("Where is my parcel?")?.text);
    Ok(())
}
