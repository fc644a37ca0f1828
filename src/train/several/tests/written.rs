//! Heads as folders, asked by the networks that run on a stream.

use super::*;
use crate::inference::{Backbones, Encoder, Head, Options};
use crate::train::export::{self, Described};
use crate::train::head::{self, Backbone, Outputs};
use crate::train::vocabulary::tests::small;
use crate::train::vocabulary::tokenizer;
use serde_json::json;
use std::path::Path;

/// Writes the encoder and the heads of a learner as the command does.
fn write(folder: &Path, network: &Network, learner: &Several<'_>) {
    let encoder = folder.join("encoder");
    let base = json!({"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "layer_norm_eps": 1e-12,
        "hidden_act": "gelu", "max_position_embeddings": 16, "type_vocab_size": 2, "model_type": "bert"});
    let described = Described { base: &base, tokenizer: &small(), labels: &[], threshold: None, scale: None, max_tokens: None };
    let (_, sha256) = export::write(&encoder, network, &described, false).unwrap();
    export::pooled(&encoder, folder, 8).unwrap();
    let backbone = Backbone { folder: "../encoder".into(), sha256 };
    for part in learner.parts() {
        let outputs = Outputs { task: part.task, labels: part.labels, threshold: (part.task == Task::Labels).then_some(0.25) };
        head::write(&folder.join(part.name), &backbone, &learner.head(part).unwrap(), &outputs).unwrap();
    }
}

/// Would catch: a head that is written turned over or without its scale, an embedding that is pooled otherwise, heads with an encoder each.
#[test]
fn what_is_written_answers_as_what_was_trained_and_stands_on_one_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = tokenizer(&small()).unwrap();
    let texts: Vec<String> = ["a film!", "re films я", "語 я re a films!", "!", "film film film a re"].map(str::to_owned).into();
    let ids: Vec<Vec<u32>> = texts.iter().map(|text| tokens.encode(text.as_str(), true).unwrap().get_ids().to_vec()).collect();
    let examples = |target: &dyn Fn(usize, usize) -> Target| -> Vec<Example> {
        let one = |(i, ids): (usize, &Vec<u32>)| Example { ids: ids.clone(), types: vec![], target: target(i, ids.len()) };
        ids.iter().enumerate().map(one).collect()
    };
    let one = examples(&|i, _| Target::Label((i % 3) as u32));
    let many = examples(&|i, _| Target::Labels(vec![(i % 2) as u32]));
    let words = examples(&|i, length| Target::Tags(vec![Some((i % 2) as u32); length]));
    let numbers = examples(&|i, _| Target::Score(i as f32 - 2.0));
    let (alone, two, three) = (names(1), names(2), names(3));
    let part = |name, task, labels, examples| Part { name, task, labels, scale: None, train: examples, dev: examples };
    let scale = Scale { mean: 30.0, deviation: 12.0 };
    let parts = [
        part("one", Task::Label, &three, &one),
        part("many", Task::Labels, &two, &many),
        part("words", Task::Tag, &two, &words),
        Part { scale: Some(scale), ..part("number", Task::Score, &alone, &numbers) },
    ];
    let network = body(0.0);
    let learner = Several::new(&network, parts.to_vec(), 1).unwrap();
    Fit::new(&learner, &Plan { epochs: 20, rate: 1e-2, batch: 2, checks: 1, ..Plan::default() }).run().unwrap();
    write(folder.path(), &network, &learner);

    let options = Options { backbones: Backbones::default(), ..Options::default() };
    let open = |name: &str| Encoder::open(name, &folder.path().join(name), None, &options).unwrap();
    let encoder = open("encoder");
    let near = |got: &[f32], want: &[f32]| got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4);
    for part in learner.parts() {
        let head = open(part.name);
        assert!(encoder.shares_backbone(&head) && head.unread().is_empty(), "{}", part.name);
        let (asked, labels) = match part.task {
            Task::Tag => (Head::Tokens, head.token_labels()),
            _ => (Head::Logits, head.labels()),
        };
        assert_eq!(labels.unwrap(), part.labels);
        assert_eq!(head.described().threshold, (part.task == Task::Labels).then_some(0.25));
        let got = head.answer_blocking(asked, texts.clone()).unwrap();
        for (got, want) in got.iter().zip(learner.answers(part).unwrap()) {
            let outward = |value: &f32| part.scale.map_or(*value, |scale| scale.outward(f64::from(*value)) as f32);
            let want: Vec<f32> = want.iter().map(outward).collect();
            assert!(near(&got.values, &want), "{}: {:?} for {want:?}", part.name, got.values);
        }
    }
    let (one, many) = (open("one"), open("many"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let together = runtime.block_on(encoder.answer_heads(&[&one, &many], texts.clone())).unwrap();
    let vectors = embeddings(&network, learner.parts()[0].dev).unwrap();
    let scores = one.answer_blocking(Head::Classify, texts).unwrap();
    for ((together, vector), scores) in together.iter().zip(&vectors).zip(&scores) {
        assert!(near(&together.embedding.values, vector) && near(&together.scores[0], &scores.values));
    }
}
