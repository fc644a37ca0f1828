//! Names and other pieces of a text, with their kinds.

use millrace::function::tag::Strategy;
use std::error::Error;

pub fn main() -> Result<(), Box<dyn Error>> {
    let Some(folder) = crate::given("tag", "a model for token classification") else { return Ok(()) };
    let tag = millrace::tag(&folder)?.aggregation_strategy(Strategy::Simple).load()?;
    for entity in tag.call("Ann moved from Paris to Oslo.")?.entities {
        println!("{} from {} to {}, {:.3}", entity.word, entity.start, entity.end, entity.score);
    }
    Ok(())
}
