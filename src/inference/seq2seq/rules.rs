//! What may come next, whatever the network thinks: in the order in which transformers applies it. Pure.

use super::options::GenerateOptions;

/// Changes the scores of the next token. `written` begins with the start token.
pub fn apply(options: &GenerateOptions, written: &[u32], scores: &mut [f32]) {
    penalise(options.repetition_penalty, written, scores);
    repeats(options.no_repeat_ngram, written, scores);
    for run in &options.forbidden {
        if let Some((last, before)) = run.split_last()
            && written.ends_with(before)
            && !(before.is_empty() && options.ends.contains(last))
        {
            scores[*last as usize] = f32::NEG_INFINITY;
        }
    }
    let new = written.len() - 1;
    if new < options.min_new_tokens {
        options.ends.iter().for_each(|&end| scores[end as usize] = f32::NEG_INFINITY);
    }
    let forced = if new + 1 == options.max_new_tokens { options.forced_last } else { None };
    let forced = forced.or(options.forced_first.filter(|_| new == 0));
    if let Some(token) = forced {
        scores.fill(f32::NEG_INFINITY);
        scores[token as usize] = 0.0;
    }
}

/// Makes each token that is written already less likely, once.
fn penalise(penalty: f32, written: &[u32], scores: &mut [f32]) {
    if penalty == 1.0 {
        return;
    }
    for (_, &token) in written.iter().enumerate().filter(|(at, token)| !written[..*at].contains(token)) {
        let score = &mut scores[token as usize];
        *score = if *score < 0.0 { *score * penalty } else { *score / penalty };
    }
}

/// Forbids each token that would end a run of `size` tokens that has come before.
fn repeats(size: usize, written: &[u32], scores: &mut [f32]) {
    if size == 0 || written.len() < size {
        return;
    }
    let begun = &written[written.len() + 1 - size..];
    for run in written.windows(size).filter(|run| run[..size - 1] == *begun) {
        scores[run[size - 1] as usize] = f32::NEG_INFINITY;
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::inference::seq2seq::EarlyStopping;

    pub fn options() -> GenerateOptions {
        GenerateOptions {
            start: 0,
            ends: vec![1],
            max_new_tokens: 4,
            min_new_tokens: 0,
            beams: 1,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::No,
            repetition_penalty: 1.0,
            no_repeat_ngram: 0,
            forced_first: None,
            forced_last: None,
            forbidden: Vec::new(),
            renormalize: false,
        }
    }

    fn banned(options: &GenerateOptions, written: &[u32]) -> Vec<usize> {
        let mut scores = [0.5; 8];
        apply(options, written, &mut scores);
        (0..8).filter(|&i| scores[i] == f32::NEG_INFINITY).collect()
    }

    #[test]
    fn a_run_of_tokens_does_not_come_twice() {
        let rule = |size| GenerateOptions { no_repeat_ngram: size, ..options() };
        assert_eq!(banned(&rule(1), &[0, 3, 5]), [0, 3, 5]);
        assert_eq!(banned(&rule(2), &[0, 3, 5, 3]), [5]);
        assert_eq!(banned(&rule(3), &[0, 3, 5, 3]), [] as [usize; 0]);
        assert_eq!(banned(&rule(3), &[3, 5, 6, 3, 5]), [6]);
        assert_eq!(banned(&rule(3), &[0]), [] as [usize; 0]);
    }

    #[test]
    fn what_is_written_becomes_less_likely_once() {
        let rule = GenerateOptions { repetition_penalty: 2.0, ..options() };
        let mut scores = [1.0, -1.0, 1.0];
        apply(&rule, &[0, 1, 1, 0], &mut scores);
        assert_eq!(scores, [0.5, -2.0, 1.0]);
    }

    #[test]
    fn forbidden_runs_end_before_their_last_token_and_an_end_stays() {
        let rule = GenerateOptions { forbidden: vec![vec![4], vec![5, 6], vec![1]], ..options() };
        assert_eq!(banned(&rule, &[0]), [4]);
        assert_eq!(banned(&rule, &[0, 5]), [4, 6]);
    }

    #[test]
    fn first_and_last_token_are_forced_and_ends_wait() {
        let rule = GenerateOptions { forced_first: Some(2), forced_last: Some(1), min_new_tokens: 2, ..options() };
        assert_eq!(banned(&rule, &[0]), [0, 1, 3, 4, 5, 6, 7]);
        assert_eq!(banned(&rule, &[0, 2]), [1]);
        assert_eq!(banned(&rule, &[0, 2, 3]), [] as [usize; 0]);
        assert_eq!(banned(&rule, &[0, 2, 3, 4]), [0, 2, 3, 4, 5, 6, 7]);
    }
}
