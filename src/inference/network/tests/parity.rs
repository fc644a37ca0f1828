use super::files::{Case, FOLDERS, Input, Opened, fixture, open, place, write};
use crate::inference::heads::Rows;
use crate::inference::network::{Scratch, Sequence};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;

const MASK: u32 = 4;

/// What a case's head says of each input, all in one batch.
fn answers(opened: &Opened, head: &str, inputs: &[&Input], scratch: &mut Scratch) -> Vec<Vec<f32>> {
    let texts: Vec<Sequence<'_>> = inputs.iter().map(|input| input.sequence()).collect();
    opened.network.encode(&texts, scratch).unwrap();
    if head == "hidden" {
        let hidden = opened.network.hidden();
        let mut rest = scratch.x.as_slice();
        let take = |text: &Sequence<'_>| {
            let (rows, after) = rest.split_at(text.ids.len() * hidden);
            rest = after;
            rows.to_vec()
        };
        return texts.iter().map(take).collect();
    }
    let masks = |text: &Sequence<'_>| (0..text.ids.len()).filter(|&i| text.ids[i] == MASK).collect();
    let only: Option<Vec<Vec<usize>>> = (head == "mask").then(|| texts.iter().map(masks).collect());
    opened.head().unwrap().logits(&*opened.network, &scratch.x, &texts, only.as_deref())
}

fn worst(ours: &[Vec<f32>], theirs: &[&Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs).flat_map(|(a, b)| {
        assert_eq!(a.len(), b.len());
        a.iter().zip(*b)
    });
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn opened(folder: &str, case: &Case, config: &Value) -> Opened {
    let place = tempfile::tempdir().unwrap();
    write(place.path(), folder, &case.head, config);
    open(place.path()).unwrap_or_else(|e| panic!("{folder}, {}: {e}", case.name))
}

/// Each family and head agrees to 1e-4, one text alone, all in a batch, and the batch backwards; with the configuration of either
/// version of transformers; and reads every tensor of the file.
#[test]
fn every_family_and_head_answers_as_transformers_does() {
    let mut table: BTreeMap<String, f32> = BTreeMap::new();
    for folder in FOLDERS {
        let fixture = fixture(folder);
        for case in &fixture.cases {
            let inputs: Vec<&Input> = fixture.inputs.iter().take(case.expected.len()).collect();
            let expected: Vec<&Vec<f32>> = case.expected.iter().collect();
            for config in std::iter::once(&case.config).chain(&case.config_4) {
                let opened = opened(folder, case, config);
                assert_eq!(opened.unread, Vec::<String>::new(), "{folder}, {}", case.name);
                let mut scratch = Scratch::default();
                let together = answers(&opened, &case.head, &inputs, &mut scratch);
                let alone: Vec<Vec<f32>> =
                    inputs.iter().flat_map(|input| answers(&opened, &case.head, &[*input], &mut scratch)).collect();
                let reversed: Vec<&Input> = inputs.iter().rev().copied().collect();
                let mut backwards = answers(&opened, &case.head, &reversed, &mut scratch);
                backwards.reverse();
                let off = [&together, &alone, &backwards].map(|ours| worst(ours, &expected)).into_iter().fold(0.0, f32::max);
                assert!(off < 1e-4, "{folder}, {}: {off}", case.name);
                let seen = table.entry(format!("{folder}: {}", case.name)).or_default();
                *seen = seen.max(off);
            }
        }
    }
    // The greatest differences, for a reader with --nocapture.
    table.iter().for_each(|(name, off)| println!("{name}: {off:.1e}"));
}

/// A checkpoint of the network alone has its tensors without a prefix; its answer is that of the whole.
#[test]
fn a_bare_network_is_found_without_its_prefix() {
    for folder in FOLDERS {
        let fixture = fixture(folder);
        let case = fixture.cases.iter().find(|case| case.head == "hidden").unwrap();
        let place_of = tempfile::tempdir().unwrap();
        let bytes = std::fs::read(place(folder).join("backbone.safetensors")).unwrap();
        let whole = SafeTensors::deserialize(&bytes).unwrap();
        let bare = whole.tensors().into_iter().map(|(name, view)| (name.split_once('.').unwrap().1.to_owned(), view));
        let file = safetensors::serialize(bare, None).unwrap();
        std::fs::write(place_of.path().join("model.safetensors"), file).unwrap();
        let mut config = case.config.clone();
        config["architectures"] = serde_json::json!(["Model"]);
        std::fs::write(place_of.path().join("config.json"), config.to_string()).unwrap();
        let opened = open(place_of.path()).unwrap();
        assert!(opened.head().is_none());
        let inputs: Vec<&Input> = fixture.inputs.iter().take(case.expected.len()).collect();
        let off = worst(&answers(&opened, "hidden", &inputs, &mut Scratch::default()), &case.expected.iter().collect::<Vec<_>>());
        assert!(off < 1e-4, "{folder}: {off}");
    }
}

/// Where `config.json` names no class, the tensors tell which head it is.
#[test]
fn heads_without_a_class_are_told_by_their_tensors() {
    for folder in FOLDERS {
        for case in fixture(folder).cases.iter().filter(|case| ["sequence", "tokens", "spans"].contains(&case.head.as_str())) {
            let mut config = case.config.clone();
            config.as_object_mut().unwrap().remove("architectures");
            let heads = opened(folder, case, &config).heads;
            let found = (heads.sequence.is_some(), heads.tokens.is_some(), heads.spans.is_some());
            let expected = (case.head == "sequence", case.head == "tokens", case.head == "spans");
            assert_eq!(found, expected, "{folder}, {}", case.name);
            if let Some(sequence) = heads.sequence {
                assert_eq!((sequence.labels.len(), sequence.head.rows), (3, Rows::First));
            }
        }
    }
}
