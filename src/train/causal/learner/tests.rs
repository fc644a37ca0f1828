use super::super::network::tests::{config, tiny};
use super::*;
use crate::train::causal::adapter::{Lora, Matrix};
use crate::train::fit::Fit;
use crate::train::keep::Keep;
use crate::train::trainable::Record;

fn stream(count: usize) -> Examples {
    let ids = (0..count as u32).map(|i| [3, 7, 1, 9, 4][i as usize % 5]).collect();
    let text = Tokens { ids, guessed: vec![true; count], characters: count };
    Examples::stream(&[text], None, 8).unwrap()
}

#[test]
fn loss_falls_to_what_a_text_that_repeats_leaves() {
    let network = tiny();
    let (train, dev) = (stream(200), stream(60));
    let learner = Learner { network: &network, train: &train, dev: &dev, drop_out: 0.0, seed: 1 };
    let before = learner.dev_loss().unwrap();
    assert!((before - (20f64).ln()).abs() < 0.5, "{before}");
    let plan = Plan { epochs: 15, rate: 2e-2, batch: 4, checks: 1, ..Plan::default() };
    let fitted = Fit::new(&learner, &plan).run().unwrap();
    assert!(-fitted.best < 0.2, "{before} to {}", -fitted.best);
    assert!((learner.dev_loss().unwrap() + fitted.best).abs() < 1e-6);
}

/// Would catch: a moment, a draw or a best weight that does not outlive the process, adapters that begin anew, a run that goes on with
/// other texts or other adapters.
#[test]
fn a_run_that_is_cut_off_goes_on_to_the_same_weights() {
    let (train, dev) = (stream(200), stream(60));
    let lora = Lora { rank: 2, alpha: 4.0, matrices: vec![Matrix::Q, Matrix::Up] };
    for adapted in [false, true] {
        let fresh = |lora: &Lora| if adapted { tiny().adapted(lora, 3).unwrap() } else { tiny() };
        fn learner<'a>(network: &'a Network, train: &'a Examples, dev: &'a Examples) -> Learner<'a> {
            Learner { network, train, dev, drop_out: 0.1, seed: 1 }
        }
        let plan = Plan { epochs: 2, rate: 1e-2, batch: 4, checks: 2, ..Plan::default() };
        let bits = |network: &Network| -> Vec<Vec<f32>> {
            network.parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
        };
        let folder = tempfile::tempdir().unwrap();
        let of = |network: &Network, train: &Examples| {
            let mut keep = Keep::new(folder.path(), learner(network, train, &dev).fingerprint(&plan).unwrap());
            keep.every = std::time::Duration::ZERO;
            keep
        };
        let whole = fresh(&lora);
        let want = Fit::new(&learner(&whole, &train, &dev), &plan).run().unwrap();
        for cut in [want.steps / 3, want.steps - 1] {
            let network = fresh(&lora);
            let mut die = |record: &Record| match record {
                Record::Step { step, .. } if *step > cut => anyhow::bail!("cut off"),
                _ => Ok(()),
            };
            let keep = of(&network, &train);
            let died = Fit::new(&learner(&network, &train, &dev), &plan).kept(&keep).observed(&mut die).run();
            assert_eq!(died.unwrap_err().to_string(), "cut off");
        }
        let others = stream(205);
        let refused = fresh(&lora);
        let keep = of(&refused, &others);
        assert!(
            Fit::new(&learner(&refused, &others, &dev), &plan).kept(&keep).run().unwrap_err().to_string().contains("other data")
        );
        let stronger = fresh(&Lora { alpha: 5.0, ..lora.clone() });
        let same = learner(&stronger, &train, &dev).fingerprint(&plan).unwrap();
        assert_eq!(same == learner(&fresh(&lora), &train, &dev).fingerprint(&plan).unwrap(), !adapted);
        let again = fresh(&lora);
        let keep = of(&again, &train);
        let got = Fit::new(&learner(&again, &train, &dev), &plan).kept(&keep).run().unwrap();
        assert_eq!((got.steps, got.last_loss, got.best), (want.steps, want.last_loss, want.best));
        assert_eq!(bits(&again), bits(&whole));
    }
}

/// Would catch: windows that end behind the text, targets that are off by one, a window that is never drawn.
#[test]
fn windows_lie_in_the_text_and_guess_the_next_token() {
    let network = tiny();
    let ids: Vec<u32> = (0..19).collect();
    let train = Examples::Stream { ids, context: 8 };
    let learner = Learner { network: &network, train: &train, dev: &train, drop_out: 0.0, seed: 5 };
    let mut seen = std::collections::BTreeSet::new();
    for epoch in 0..60 {
        let batches = learner.batches(2, epoch);
        assert_eq!(batches, learner.batches(2, epoch));
        assert_eq!(batches.len(), 1);
        for place in batches.concat() {
            let batch = train.batch(&[place]);
            assert_eq!(batch.lengths, [8]);
            assert!(batch.ids.iter().zip(&batch.targets).all(|(id, target)| id + 1 == *target));
            seen.insert(place);
        }
    }
    assert_eq!(seen, (0..=10).collect());
    assert_eq!(train.measured(), [0, 8]);
}

/// Would catch: a loss over what the user says, and one that counts short answers as much as long ones.
#[test]
fn of_conversations_the_answers_alone_are_guessed() {
    let chat = |ids: &[u32], answers: std::ops::Range<usize>| {
        let mut guessed = vec![false; ids.len()];
        guessed[answers].fill(true);
        Tokens { ids: ids.to_vec(), guessed, characters: 1 }
    };
    let chats = vec![chat(&[1, 2, 3, 4], 2..4), chat(&[5, 6, 7], 1..2), chat(&[1; 12], 10..12)];
    let (examples, lost) = Examples::chats(chats, 8).unwrap();
    assert_eq!((lost, examples.tokens()), (1, 7));
    let batch = examples.batch(&[1, 0]);
    assert_eq!((batch.lengths, batch.ids), (vec![3, 4], vec![5, 6, 7, 1, 2, 3, 4]));
    assert_eq!(batch.targets, [6, IGNORED, IGNORED, IGNORED, 3, 4, IGNORED]);
    let network = tiny();
    let learner = Learner { network: &network, train: &examples, dev: &examples, drop_out: 0.0, seed: 5 };
    let loss = |part: &[usize]| f64::from(learner.loss(part, 0).unwrap().to_scalar::<f32>().unwrap());
    let whole = (loss(&[0]) * learner.weight(0) + loss(&[1]) * learner.weight(1)) / 3.0;
    assert!((loss(&[0, 1]) - whole).abs() < 1e-5);
    assert!((learner.dev_loss().unwrap() - whole).abs() < 1e-5);
    assert_eq!(config()["vocab_size"], 20);
}
