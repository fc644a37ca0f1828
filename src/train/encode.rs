//! Texts and pairs of texts as tokens, cut where they are too long as transformers cuts them: of a single text the end goes, of a pair
//! the end of the longer one, token by token (`longest_first`).

use super::vocabulary::Tokenizer;
use anyhow::Result;
use tokenizers::{TruncationParams, TruncationStrategy};

/// A tokenizer and how much of a text it keeps.
pub struct Cutter {
    whole: Tokenizer,
    cut: Tokenizer,
    most: usize,
}

/// A text or a pair, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub ids: Vec<u32>,
    /// The segment of each token; empty where all are 0.
    pub types: Vec<u32>,
    /// Tokens before it was cut.
    pub whole: usize,
}

impl Cutter {
    /// Keeps `most` tokens, special ones included.
    pub fn new(tokenizer: &Tokenizer, most: usize) -> Result<Self> {
        let mut cut = tokenizer.clone();
        let params =
            TruncationParams { max_length: most, strategy: TruncationStrategy::LongestFirst, ..TruncationParams::default() };
        cut.with_truncation(Some(params)).map_err(anyhow::Error::msg)?;
        Ok(Self { whole: tokenizer.clone(), cut, most })
    }

    pub fn encode(&self, text: &str, pair: Option<&str>) -> Result<Encoded> {
        let of = |tokenizer: &Tokenizer| {
            let encoding = match pair {
                None => tokenizer.encode_fast(text, true),
                Some(pair) => tokenizer.encode_fast((text, pair), true),
            };
            encoding.map_err(anyhow::Error::msg)
        };
        let mut encoding = of(&self.whole)?;
        let whole = encoding.len();
        if whole > self.most {
            encoding = of(&self.cut)?;
        }
        let types = encoding.get_type_ids();
        let typed = pair.is_some() && types.iter().any(|of| *of != 0);
        Ok(Encoded { ids: encoding.get_ids().to_vec(), types: if typed { types.to_vec() } else { vec![] }, whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::vocabulary::tests::small;
    use crate::train::vocabulary::tokenizer;

    /// Ids and segments as transformers 5.24.0 has them for this tokenizer (`truncation="longest_first"`).
    #[test]
    fn texts_and_pairs_are_cut_as_transformers_cuts_them() {
        let tokenizer = tokenizer(&small()).unwrap();
        let long = "a film a film a film";
        let of = |text: &str, pair: Option<&str>, most: usize| {
            let Encoded { ids, types, whole } = Cutter::new(&tokenizer, most).unwrap().encode(text, pair).unwrap();
            (ids, types, whole)
        };
        assert_eq!(of("films!", None, 9), (vec![3, 6, 7, 9, 4], vec![], 5));
        assert_eq!(of(long, None, 5), (vec![3, 5, 6, 5, 4], vec![], 8));
        assert_eq!(of("a film", Some("re"), 9), (vec![3, 5, 6, 4, 11, 4], vec![0, 0, 0, 0, 1, 1], 6));
        for (first, second, most, ids, first_of_second) in [
            (long, "re re", 8, &[3, 5, 6, 5, 4, 11, 11, 4][..], 5),
            ("re re", long, 8, &[3, 11, 11, 4, 5, 6, 5, 4], 4),
            (long, "re ! re ! re", 9, &[3, 5, 6, 5, 4, 11, 9, 11, 4], 5),
            ("re ! re ! re", long, 10, &[3, 11, 9, 11, 4, 5, 6, 5, 6, 4], 5),
            (long, long, 8, &[3, 5, 6, 4, 5, 6, 5, 4], 4),
        ] {
            let (got, types, _) = of(first, Some(second), most);
            let segments: Vec<u32> = (0..ids.len()).map(|place| u32::from(place >= first_of_second)).collect();
            assert_eq!((&got[..], types), (ids, segments), "{first} | {second}");
        }
    }
}
