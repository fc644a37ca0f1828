use super::files::{Case, FOLDERS, Input, Opened, fixture, open, place, write};
use crate::inference::heads::{Out, Rows};
use crate::inference::network::{Network, Scratch, Sequence};
use crate::inference::parity;
use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::Value;

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
                assert!(together == alone && together == backwards, "{folder}, {}: a text depends on its batch mates", case.name);
                let off = [&together, &alone, &backwards].map(|ours| worst(ours, &expected)).into_iter().fold(0.0, f32::max);
                parity::seen("encoder", folder, &case.name, off);
            }
        }
    }
}

/// The bits of the first row of each text, once out of all rows and once with a last layer that works for them alone.
fn first_rows(network: &dyn Network, texts: &[Sequence<'_>]) -> [Vec<u32>; 2] {
    let (mut all, mut firsts) = (Scratch::default(), Scratch::default());
    network.encode(texts, &mut all).unwrap();
    network.encode_firsts(texts, &mut firsts).unwrap();
    let (hidden, mut start, mut wanted) = (network.hidden(), 0, Vec::new());
    for text in texts {
        wanted.extend(all.x[start * hidden..][..hidden].iter().map(|v| v.to_bits()));
        start += text.ids.len();
    }
    [wanted, firsts.x.iter().map(|v| v.to_bits()).collect()]
}

/// A BERT of one layer of 64, with numbers of no meaning and 1,100 positions.
fn long() -> Opened {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu", "hidden_size": 64, "intermediate_size": 96,
        "num_attention_heads": 2, "num_hidden_layers": 1, "vocab_size": 50, "max_position_embeddings": 1100, "type_vocab_size": 2,
        "layer_norm_eps": 1e-12
    });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let mut tensors: Vec<(String, Vec<usize>)> = Vec::new();
    for (table, rows) in [("word", 50), ("position", 1100), ("token_type", 2)] {
        tensors.push((format!("embeddings.{table}_embeddings.weight"), vec![rows, 64]));
    }
    let layer = "encoder.layer.0";
    for (name, outputs, inputs) in [
        ("attention.self.query", 64, 64),
        ("attention.self.key", 64, 64),
        ("attention.self.value", 64, 64),
        ("attention.output.dense", 64, 64),
        ("intermediate.dense", 96, 64),
        ("output.dense", 64, 96),
    ] {
        tensors.push((format!("{layer}.{name}.weight"), vec![outputs, inputs]));
        tensors.push((format!("{layer}.{name}.bias"), vec![outputs]));
    }
    for norm in
        ["embeddings.LayerNorm".to_owned(), format!("{layer}.attention.output.LayerNorm"), format!("{layer}.output.LayerNorm")]
    {
        tensors.push((format!("{norm}.weight"), vec![64]));
        tensors.push((format!("{norm}.bias"), vec![64]));
    }
    let number = |i: usize| ((i * 7919 % 1009) as f32 - 504.0) / 1500.0;
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, shape)| (0..shape.iter().product()).flat_map(|i| number(i).to_le_bytes()).collect()).collect();
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape), bytes)| (name.as_str(), TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap()));
    safetensors::serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
    open(folder.path()).unwrap()
}

/// Would catch: a last layer that takes its sums in another order for a text of some length, alone or among others; a residual of
/// another token; rows beside the first.
#[test]
fn a_last_layer_for_first_tokens_alone_changes_no_bit() {
    for folder in FOLDERS {
        let fixture = fixture(folder);
        let case = fixture.cases.iter().find(|case| case.head == "hidden").unwrap();
        let opened = opened(folder, case, &case.config);
        let texts: Vec<Sequence<'_>> = fixture.inputs.iter().take(case.expected.len()).map(|input| input.sequence()).collect();
        let [wanted, found] = first_rows(&*opened.network, &texts);
        assert_eq!(found, wanted, "{folder}");
    }
    // A network of usual size: products go other ways by their sizes.
    let shipped = open(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/sentiment-en")).unwrap();
    let lengths = [
        1, 2, 3, 5, 8, 15, 16, 17, 18, 25, 31, 32, 33, 64, 65, 85, 86, 127, 128, 129, 130, 200, 255, 256, 257, 300, 384, 511, 512,
    ];
    let ids: Vec<Vec<u32>> = lengths.iter().map(|len| (0..*len as u32).map(|i| 1000 + i * 37 % 9000).collect()).collect();
    let texts: Vec<Sequence<'_>> = ids.iter().map(|ids| Sequence::from(ids.as_slice())).collect();
    for (text, len) in texts.iter().zip(lengths) {
        let [wanted, found] = first_rows(&*shipped.network, std::slice::from_ref(text));
        assert_eq!(found, wanted, "{len} tokens alone");
    }
    for few in texts.chunks(7) {
        let [wanted, found] = first_rows(&*shipped.network, few);
        assert_eq!(found, wanted, "{} texts", few.len());
    }
    // Over many keys sums are cut.
    let long = long();
    for len in [500, 512, 513, 514, 600, 700, 1000, 1024, 1025, 1100] {
        let ids: Vec<u32> = (0..len).map(|i| i * 37 % 50).collect();
        let [wanted, found] = first_rows(&*long.network, &[Sequence::from(ids.as_slice())]);
        assert_eq!(found, wanted, "{len} tokens");
    }
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

/// Files from before 2019 call a norm's weight and bias `gamma` and `beta`.
#[test]
fn norms_are_read_by_their_old_names() {
    let fixture = fixture("bert");
    let case = fixture.cases.iter().find(|case| case.head == "mask").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = Vec::new();
    let files: Vec<Vec<u8>> =
        ["backbone", "mask"].map(|part| std::fs::read(place("bert").join(format!("{part}.safetensors"))).unwrap()).into();
    for file in &files {
        for (name, view) in SafeTensors::deserialize(file).unwrap().tensors() {
            let old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            tensors.push((old, view));
        }
    }
    std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    std::fs::write(folder.path().join("config.json"), case.config.to_string()).unwrap();
    let opened = open(folder.path()).unwrap();
    assert_eq!(opened.unread, Vec::<String>::new());
    let inputs: Vec<&Input> = fixture.inputs.iter().collect();
    let off = worst(&answers(&opened, "mask", &inputs, &mut Scratch::default()), &case.expected.iter().collect::<Vec<_>>());
    assert!(off < 1e-4, "{off}");
}

/// A decoder in the file: the word table again is not held twice, another table is not replaced by it.
#[test]
fn a_decoder_of_its_own_counts() {
    let fixture = fixture("bert");
    let case = fixture.cases.iter().find(|case| case.head == "mask").unwrap();
    let backbone = std::fs::read(place("bert").join("backbone.safetensors")).unwrap();
    let mask = std::fs::read(place("bert").join("mask.safetensors")).unwrap();
    let (backbone, mask) = (SafeTensors::deserialize(&backbone).unwrap(), SafeTensors::deserialize(&mask).unwrap());
    let words = backbone.tensor("bert.embeddings.word_embeddings.weight").unwrap();
    let nothing = vec![0; words.data().len()];
    let other = TensorView::new(words.dtype(), words.shape().to_vec(), &nothing).unwrap();
    let bias: Vec<f32> = mask
        .tensor("cls.predictions.bias")
        .unwrap()
        .data()
        .as_chunks::<2>()
        .0
        .iter()
        .map(|b| half::f16::from_le_bytes(*b).to_f32())
        .collect();
    for (decoder, tied) in [(words, true), (other, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = [backbone.tensors(), mask.tensors()].concat();
        tensors.push(("cls.predictions.decoder.weight".to_owned(), decoder));
        std::fs::write(folder.path().join("model.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
        std::fs::write(folder.path().join("config.json"), case.config.to_string()).unwrap();
        let opened = open(folder.path()).unwrap();
        assert_eq!(opened.unread, Vec::<String>::new());
        assert_eq!(matches!(opened.head().unwrap().out, Out::Tied(_)), tied);
        let said = answers(&opened, "mask", &[&fixture.inputs[0]], &mut Scratch::default());
        let expected = if tied { &case.expected[0] } else { &bias };
        assert!(worst(&said, &[expected]) < 1e-4);
    }
}

/// A class whose head is for training alone leaves the network; its tensors are told.
#[test]
fn a_head_that_answers_nothing_is_left_and_told() {
    let fixture = fixture("electra");
    let case = fixture.cases.iter().find(|case| case.head == "mask").unwrap();
    let mut config = case.config.clone();
    config["architectures"] = serde_json::json!(["ElectraForPreTraining"]);
    let opened = opened("electra", case, &config);
    assert!(opened.head().is_none());
    assert!(opened.unread.contains(&"generator_lm_head.bias".to_owned()), "{:?}", opened.unread);
}
