//! Words that fit where a text has a mask.

use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("fill", "a masked language model") else { return Ok(()) };
    let fill = millrace::fill(&folder)?.top_k(3).load()?;
    for word in &fill.call("Paris is the [MASK] of France.")?.masks[0] {
        println!("{word:?}");
    }
    Ok(())
}
