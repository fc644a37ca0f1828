use super::*;
use crate::train::batches::{Batch, Example, Target};
use crate::train::loss::loss;

pub(crate) const SHAPE: Shape = Shape {
    hidden_size: 8,
    num_attention_heads: 2,
    num_hidden_layers: 2,
    intermediate_size: 16,
    layer_norm_eps: 1e-12,
    max_position_embeddings: 16,
    vocab_size: 20,
    type_vocab_size: 2,
};

/// Tensors of an encoder in HF's orientation, larger than those that are drawn.
fn encoder(shape: &Shape) -> HashMap<String, Tensor> {
    let mut rng = StdRng::seed_from_u64(7);
    let mut weights = HashMap::new();
    for (name, mut dims) in tensors(shape, Task::Label, 2) {
        let Some(name) = name.strip_prefix("bert.").filter(|name| !name.starts_with("pooler")) else { continue };
        if is_matrix(name) {
            dims.reverse();
        }
        let values: Vec<f32> = (0..dims.iter().product()).map(|_| draw(&mut rng) * 0.4).collect();
        weights.insert(name.to_owned(), Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    }
    weights
}

pub(crate) fn tiny_with(task: Task, outputs: usize, tuning: &Tuning) -> Network {
    Network::new(SHAPE, task, outputs, &encoder(&SHAPE), tuning).unwrap()
}

/// As a network begins that has no weights to start from.
pub(crate) fn drawn_with(task: Task, outputs: usize, tuning: &Tuning) -> Network {
    Network::new(SHAPE, task, outputs, &HashMap::new(), tuning).unwrap()
}

pub(crate) fn tiny() -> Network {
    tiny_with(Task::Label, 2, &Tuning::default())
}

/// Every kind of head with its outputs.
const HEADS: [(Task, usize); 5] = [(Task::Label, 2), (Task::Labels, 2), (Task::Score, 1), (Task::Tag, 2), (Task::Answer, 2)];

/// Two texts of unequal lengths, the first a pair.
fn examples(task: Task) -> Vec<Example> {
    let targets = match task {
        Task::Label => [Target::Label(0), Target::Label(1)],
        Task::Labels => [Target::Labels(vec![0, 1]), Target::Labels(vec![])],
        Task::Score => [Target::Score(0.5), Target::Score(-1.0)],
        Task::Tag => [Target::Tags(vec![None, Some(0), Some(1), None]), Target::Tags(vec![None, Some(1), None])],
        Task::Answer => [Target::Span(1, 2), Target::Span(0, 0)],
    };
    let ids = [(vec![1, 5, 9, 2], vec![0, 0, 1, 1]), (vec![1, 7, 2], vec![])];
    ids.into_iter().zip(targets).map(|((ids, types), target)| Example { ids, types, target }).collect()
}

/// Would catch: an operation without a gradient, a head or table that is never trained, a frozen layer that is.
#[test]
fn a_gradient_reaches_every_parameter_of_every_head_and_no_other() {
    for (task, outputs) in HEADS {
        for (tables, layers, dropout) in [(true, None, 0.1), (false, None, 0.0), (false, Some(1), 0.0)] {
            let network = tiny_with(task, outputs, &Tuning { tables, layers, dropout, seed: 3 });
            let examples = examples(task);
            let examples: Vec<&Example> = examples.iter().collect();
            let batch = Batch::of(&examples);
            let logits = network.logits(&batch, &Pass::training(1)).unwrap();
            let gradients = loss(task, &logits, &batch, &examples).unwrap().backward().unwrap();
            for (name, var) in &network.parameters {
                let gradient = gradients.get(var).unwrap_or_else(|| panic!("{task:?}: no gradient for {name}"));
                let size = gradient.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
                // Softmax ignores a constant that is added to all scores, those of keys or of tokens: such a bias has a gradient of zero.
                let constant = name.ends_with("key.bias") || name == "qa_outputs.bias";
                assert!(size > 0.0 || constant, "{task:?}: {name} has a zero gradient");
            }
            let trained = |part: &str| network.parameters.keys().any(|name| name.contains(part));
            assert_eq!((trained("word_embeddings"), trained("layer.1."), trained(task.out())), (tables, true, true));
            assert_eq!((trained("layer.0."), trained("embeddings.LayerNorm")), (layers.is_none(), layers.is_none()));
            assert_eq!(network.parameters.len() + network.frozen.len(), tensors(&SHAPE, task, outputs).len());
        }
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()
}

/// Central differences of the loss of a padded batch, for some numbers of each parameter. Would catch: a gradient of the wrong size or sign
/// anywhere on the way, a padded place or one that nothing is asked about that pulls at the weights.
#[test]
fn gradients_of_every_head_equal_finite_differences() {
    for (task, outputs) in HEADS {
        let network = tiny_with(task, outputs, &Tuning { tables: true, ..Tuning::default() });
        let examples = examples(task);
        let examples: Vec<&Example> = examples.iter().collect();
        let batch = Batch::of(&examples);
        let cost = || loss(task, &network.logits(&batch, &Pass::training(1)).unwrap(), &batch, &examples).unwrap();
        let gradients = cost().backward().unwrap();
        for (name, var) in &network.parameters {
            let (start, got) = (values(var), values(gradients.get(var).unwrap()));
            let slope = |place: usize| {
                let at = |step: f32| {
                    let mut moved = start.clone();
                    moved[place] += step;
                    var.set(&Tensor::from_vec(moved, var.shape(), &Device::Cpu).unwrap()).unwrap();
                    cost().to_scalar::<f32>().unwrap()
                };
                (at(1e-2) - at(-1e-2)) / 2e-2
            };
            for place in (0..start.len()).step_by(start.len().div_ceil(6)) {
                let want = slope(place);
                assert!(
                    (got[place] - want).abs() < 1e-3 + want.abs() * 2e-2,
                    "{task:?} {name}[{place}]: {} for {want}",
                    got[place]
                );
            }
            var.set(&Tensor::from_vec(start, var.shape(), &Device::Cpu).unwrap()).unwrap();
        }
    }
}

/// Would catch: attention that sees padding, or positions that shift with it.
#[test]
fn a_padded_text_has_the_logits_it_has_alone() {
    for task in [Task::Label, Task::Answer] {
        let network = tiny_with(task, 2, &Tuning::default());
        let examples = examples(task);
        let both = values(&network.logits(&Batch::of(&[&examples[0], &examples[1]]), &Pass::measuring()).unwrap());
        let alone = values(&network.logits(&Batch::of(&[&examples[1]]), &Pass::measuring()).unwrap());
        let (from, count) = if task.is_pooled() { (2, 2) } else { (8, 6) };
        assert!(both[from..from + count].iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6), "{both:?} {alone:?}");
    }
}

/// Would catch: dropout while measuring, or two draws that are the same.
#[test]
fn dropout_follows_its_draw_and_is_for_training_alone() {
    let network = tiny_with(Task::Label, 2, &Tuning { dropout: 0.3, ..Tuning::default() });
    let examples = examples(Task::Label);
    let batch = Batch::of(&[&examples[0]]);
    let logits = |pass: Pass| values(&network.logits(&batch, &pass).unwrap());
    assert_eq!(logits(Pass::training(1)), logits(Pass::training(1)));
    assert_ne!(logits(Pass::training(1)), logits(Pass::training(2)));
    assert_eq!(logits(Pass::measuring()), values(&tiny().logits(&batch, &Pass::training(1)).unwrap()));
}

/// Would catch: a missing tensor of the body that is drawn in silence, or a head of another size that is refused.
#[test]
fn heads_are_drawn_and_bodies_are_not() {
    let mut weights = encoder(&SHAPE);
    let other = tiny_with(Task::Label, 3, &Tuning::default()).state().unwrap();
    weights.extend(other.into_iter().filter(|(name, _)| name.starts_with("classifier")));
    let network = Network::new(SHAPE, Task::Label, 2, &weights, &Tuning::default()).unwrap();
    assert_eq!(network.parameters["classifier.weight"].dims(), [8, 2]);
    weights.remove("encoder.layer.1.output.dense.weight");
    let refused = Network::new(SHAPE, Task::Label, 2, &weights, &Tuning::default()).err().unwrap().to_string();
    assert!(refused.contains("bert.encoder.layer.1.output.dense.weight"), "{refused}");
    let scratch = Network::new(SHAPE, Task::Label, 2, &HashMap::new(), &Tuning { tables: true, ..Tuning::default() }).unwrap();
    assert!(scratch.frozen.is_empty());
    assert_eq!(values(&scratch.parameters["bert.embeddings.LayerNorm.weight"]), [1.0; 8]);
}

#[test]
fn logits_equal_those_of_candles_own_bert() {
    use candle_transformers::models::bert::{BertModel, Config};
    let network = tiny();
    let state: HashMap<String, Tensor> = network.state().unwrap().into_iter().collect();
    let config: Config = serde_json::from_value(serde_json::json!({
        "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16,
        "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "max_position_embeddings": 16, "type_vocab_size": 2,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0, "position_embedding_type": "absolute",
        "use_cache": false, "classifier_dropout": null, "model_type": "bert"
    }))
    .unwrap();
    let dense = |x: &Tensor, name: &str| {
        let product = x.matmul(&state[&format!("{name}.weight")].t().unwrap()).unwrap();
        product.broadcast_add(&state[&format!("{name}.bias")]).unwrap()
    };
    let bert = BertModel::load(candle_nn::VarBuilder::from_tensors(state.clone(), DType::F32, &Device::Cpu), &config).unwrap();
    let ids = [1u32, 5, 9, 2, 1, 7, 3, 2];
    for types in [None, Some(vec![0, 0, 1, 1, 0, 1, 1, 1])] {
        let batch = Tensor::from_slice(&ids, (2, 4), &Device::Cpu).unwrap();
        let of_types = Tensor::from_slice(&types.clone().unwrap_or(vec![0u32; 8]), (2, 4), &Device::Cpu).unwrap();
        let hidden = bert.forward(&batch, &of_types, None).unwrap();
        let first = hidden.narrow(1, 0, 1).unwrap().squeeze(1).unwrap().contiguous().unwrap();
        let want = dense(&dense(&first, "bert.pooler.dense").tanh().unwrap(), "classifier");
        let batch = Batch { texts: 2, length: 4, ids: ids.into(), types, lengths: None };
        let got = network.logits(&batch, &Pass::training(0)).unwrap();
        let apart = (got - want).unwrap().abs().unwrap().max_all().unwrap();
        assert!(apart.to_scalar::<f32>().unwrap() < 1e-5, "{apart}");
    }
}
