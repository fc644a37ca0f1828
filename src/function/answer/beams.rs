//! Spans of models that choose ends by their starts (`XLNetForQuestionAnswering`), as transformers evaluates them on SQuAD 2.0
//! (`compute_predictions_log_probs`): a span's score is the probability of its first token and that of its last one behind it, added, and
//! the best twenty, each once, are normalised together. Whether there is no answer is a question of its own: the lowest logit over
//! all windows. That evaluation looks for a threshold afterwards; here the logit is taken as the probability that it was trained as,
//! and the spans share what is left.
//!
//! transformers keeps the ends as [ends, starts] and that evaluation reads them as [starts, ends], so that it pairs a start with the
//! end of another. Here each start has its own ends.

use super::spans::{KEPT, bytes, context, merged, ranked, shares};
use super::{Found, Options};
use crate::function::chars::{Chars, Span};
use crate::function::windows::Window;
use crate::inference::Beam;
use std::collections::HashMap;

pub fn answers(options: &Options, chars: &Chars<'_>, windows: &[Window]) -> Vec<Found> {
    let kept = KEPT.max(2 * options.top_k + 10);
    let (mut pieces, mut none) = (HashMap::new(), f64::INFINITY);
    for window in windows {
        let Some(beam) = Beam::of(&window.answer.values) else { continue };
        none = none.min(f64::from(beam.none));
        let inside = context(window);
        for start in &beam.starts {
            let (first, share) = (start.token, f64::from(start.probability));
            let fits = |last: usize| last >= first && last - first < options.max_answer_len && inside.contains(&last);
            for (last, of_end) in start.ends.iter().filter(|(last, _)| inside.contains(&first) && fits(*last)) {
                let bytes = bytes(window, (first, *last), options.align_to_words);
                let of_piece = pieces.entry((bytes.start, bytes.end)).or_insert(f64::NEG_INFINITY);
                *of_piece = of_piece.max(share + f64::from(*of_end));
            }
        }
    }
    let mut found = shares(ranked(chars, pieces, kept));
    if options.handle_impossible_answer {
        let none = 1.0 / (1.0 + (-none).exp());
        found.iter_mut().for_each(|(_, score)| *score *= 1.0 - none);
        found.push((Span { start: 0, end: 0, text: String::new() }, none));
    }
    merged(found.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::answer::Question;
    use crate::function::task::Task;
    use crate::inference::{Answer, Encoder, Tokens};
    use std::path::Path;
    use std::sync::Arc;

    /// Numbers of a beam: the logit, two ends a start, then tokens and probabilities.
    fn window(none: f32, starts: &[[f32; 6]]) -> Window {
        let words = ["one", "two", "three", "four"];
        let mut tokens = Tokens::default();
        let mut at = 0;
        for (index, word) in words.iter().enumerate() {
            tokens.offsets.push((at, at + word.len()));
            tokens.words.push(Some(index as u32));
            tokens.sides.push(Some(1));
            at += word.len() + 1;
        }
        // A separator, a word of the question, a separator, the text's own token.
        tokens.offsets.extend([(0, 0); 4]);
        tokens.words.extend([None, Some(0), None, None]);
        tokens.sides.extend([None, Some(0), None, None]);
        let values = [none, 2.0].into_iter().chain(starts.iter().flatten().copied()).collect();
        Window { tokens, answer: Answer { values, tokens: 8, truncated: false } }
    }

    fn read(options: &Options, windows: &[Window]) -> Vec<(String, f64)> {
        let all = answers(options, &Chars::new("one two three four"), windows);
        all.into_iter().map(|found| (found.answer, (found.score * 1e4).round() / 1e4)).collect()
    }

    #[test]
    fn a_span_has_the_probabilities_of_its_start_and_its_own_end() {
        let options = Options { top_k: 9, max_answer_len: 3, ..Options::default() };
        // Ends before the start, outside the context and too far away are passed over; so is a start that stands for the whole text.
        let first = [[1.0, 0.5, 2.0, 0.75, 0.0, 0.125], [0.0, 0.25, 0.0, 0.5, 3.0, 0.25], [7.0, 0.125, 7.0, 0.5, 1.0, 0.25]];
        let second = [[1.0, 0.25, 1.0, 0.5, 5.0, 0.25], [3.0, 0.25, 3.0, 0.25, 2.0, 0.5]];
        let windows = [window(1.0, &first), window(-1.0, &second)];
        let powers = [1.25f64, 0.75, 0.75, 0.5].map(f64::exp);
        let sum: f64 = powers.iter().sum();
        let share = |i: usize| (powers[i] / sum * 1e4).round() / 1e4;
        let wanted = [("two three", 0), ("one", 1), ("two", 2), ("four", 3)].map(|(text, i)| (text.to_owned(), share(i)));
        assert_eq!(read(&options, &windows), wanted);
        // The lowest logit of all windows, as a probability.
        let options = Options { handle_impossible_answer: true, ..options };
        let none = 1.0 / (1.0 + 1f64.exp());
        let all = read(&options, &windows);
        assert!(all.contains(&(String::new(), (none * 1e4).round() / 1e4)), "{all:?}");
        assert!((all.iter().map(|(_, score)| score).sum::<f64>() - 1.0).abs() < 1e-3, "{all:?}");
        assert_eq!(read(&options, &[window(0.0, &[])]), [(String::new(), 0.5)]);
    }

    /// A whole folder, whose tokeniser has a word each.
    #[tokio::test]
    async fn a_model_with_beams_answers() {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders2/xlnet_beams");
        let files = ["base", "beams"].map(|name| std::fs::read(fixture.join(format!("{name}.safetensors"))).unwrap());
        let tensors = files.iter().flat_map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap().tensors());
        std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
        std::fs::copy(fixture.join("beams.v5.json"), folder.path().join("config.json")).unwrap();
        let words = "<unk> <cls> <sep> <pad> where is it the cat sat on a red mat at home";
        let vocabulary: serde_json::Map<_, _> =
            words.split(' ').zip(0..).map(|(word, id)| (word.to_owned(), id.into())).collect();
        let piece = |kind: &str, id: &str, of: u32| serde_json::json!({kind: {"id": id, "type_id": of}});
        let special = |id: &str, of: u32| serde_json::json!({id: {"id": id, "ids": [of], "tokens": [id]}})[id].clone();
        let added = |id: u32, content: &str| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        let tokenizer = serde_json::json!({
            "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "decoder": null,
            "added_tokens": [added(1, "<cls>"), added(2, "<sep>")],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [piece("Sequence", "A", 0), piece("SpecialToken", "<sep>", 0), piece("SpecialToken", "<cls>", 2)],
                "pair": [piece("Sequence", "A", 0), piece("SpecialToken", "<sep>", 0), piece("Sequence", "B", 1),
                    piece("SpecialToken", "<sep>", 1), piece("SpecialToken", "<cls>", 2)],
                "special_tokens": {"<sep>": special("<sep>", 2), "<cls>": special("<cls>", 1)}},
        });
        std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
        let encoder = Arc::new(Encoder::open("beams", folder.path(), None, &crate::inference::Options::default()).unwrap());
        assert!(encoder.has_spans() && encoder.has_beams() && encoder.context_first());
        let options = Options {
            top_k: 50,
            max_answer_len: 30,
            max_seq_len: Some(16),
            handle_impossible_answer: true,
            ..Options::default()
        };
        let answer = crate::function::answer::Answer::new(Arc::clone(&encoder), options.clone()).unwrap();
        let context = "the cat sat on a red mat at home the cat sat on a red mat";
        let mut answered = answer.answer(vec![Question::from(("where is it", context))]).await.unwrap();
        let found = answered.remove(0).unwrap();
        assert!(found.windows > 1 && found.answers.len() > 1, "{found:?}");
        assert!(found.answers.iter().all(|one| context[one.start..one.end] == one.answer), "{found:?}");
        assert!((found.answers.iter().map(|one| one.score).sum::<f64>() - 1.0).abs() < 1e-3, "{found:?}");
        // The first text of a pair is the context, and what stands outside it has no probability.
        let pair = crate::inference::Text::pair("the cat sat on a red mat".to_owned(), "where is it".to_owned());
        let values =
            encoder.answer_texts(crate::inference::Head::Spans, vec![pair], Default::default()).await.unwrap().remove(0).values;
        let beam = Beam::of(&values).unwrap();
        assert_eq!((beam.starts.len(), beam.starts[0].ends.len()), (4, 3));
        assert!(beam.starts.iter().all(|start| start.token < 7 || start.token == 12), "{beam:?}");
        let error = crate::function::answer::Answer::new(encoder, Options { hf_compatible: true, ..options }).err().unwrap();
        assert!(error.contains("hf_compatible"), "{error}");
    }
}
