//! Safetensors with a scaler inside: a logistic regression or a multi-layer perceptron over `n` features.
//!
//! | tensor | shape | |
//! |---|---|---|
//! | `scaler.mean`, `scaler.scale` | `[n]` | each feature enters as `(x - mean) / scale` |
//! | `coef`, `intercept` | `[n]`, `[1]` | of a logistic regression |
//! | `fc1.weight`, `fc1.bias`, `fc2.weight`, ... | `[outputs, inputs]`, `[outputs]` | of a net; the last layer has one output, its sigmoid is the probability |
//!
//! All are F32 or F64. Metadata: `features`, a JSON list of the names in order (a file without it must have them declared);
//! `activation` between the layers of a net: `relu` (the default), `tanh` or `sigmoid`. Other tensors are refused.

use super::error::Fault;
use super::linear::{Linear, OBJECTIVE, Scaler};
use super::link::Link;
use super::net::{Activation, Layer, Net};
use super::{Body, Read, most_features};
use safetensors::{Dtype, SafeTensors};

const REMEDY: &str = "save scaler.mean and scaler.scale, then coef and intercept, or fc1.weight, fc1.bias, fc2.weight, ...";

/// Whether the bytes begin as safetensors do: the length of a JSON header, then the header.
pub fn is(bytes: &[u8]) -> bool {
    let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
    length.is_some_and(|length| length >= 2 && length <= bytes.len() as u64 - 8) && bytes.get(8) == Some(&b'{')
}

pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    let broken = |cause: safetensors::SafeTensorError| Fault::damaged("", format!("not safetensors: {cause}"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let tensors = Tensors(SafeTensors::deserialize(bytes).map_err(broken)?);
    let metadata = header.metadata().clone().unwrap_or_default();
    let [features] = tensors.shape("scaler.mean")?[..] else {
        return Err(Fault::unsupported("scaler.mean", "it is not a list", REMEDY));
    };
    most_features(features)?;
    let names = match metadata.get("features") {
        None => None,
        Some(list) => {
            let names: Vec<String> = serde_json::from_str(list)
                .map_err(|cause| Fault::damaged("metadata", format!("`features` is not a JSON list of names: {cause}")))?;
            if names.len() != features {
                return Err(Fault::damaged("metadata", format!("{} names for {features} features", names.len())));
            }
            Some(names)
        }
    };
    let scaler = Scaler::new(tensors.list("scaler.mean", &[features])?, tensors.list("scaler.scale", &[features])?, features)?;
    let linear = tensors.has("coef");
    let (format, body) = if linear {
        tensors.only(|name| matches!(name, "coef" | "intercept"))?;
        let intercept = tensors.list("intercept", &[1])?[0];
        ("logistic regression safetensors", Body::Linear(Linear::new(scaler, tensors.list("coef", &[features])?, intercept)?))
    } else {
        let activation = metadata.get("activation").map_or(Ok(Activation::Relu), |name| Activation::of(name))?;
        ("MLP safetensors", Body::Net(Net::new(scaler, layers(&tensors, features)?, activation)))
    };
    Ok(Read {
        format,
        objective: OBJECTIVE.into(),
        link: Link::Logistic { sigmoid: 1.0 },
        names,
        features,
        notes: Vec::new(),
        body,
    })
}

fn layers(tensors: &Tensors<'_>, features: usize) -> Result<Vec<Layer>, Fault> {
    let (mut layers, mut inputs) = (Vec::new(), features);
    while tensors.has(&format!("fc{}.weight", layers.len() + 1)) {
        let name = format!("fc{}", layers.len() + 1);
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let [outputs] = tensors.shape(&bias)?[..] else { return Err(Fault::damaged(bias, "it is not a list")) };
        if outputs == 0 {
            return Err(Fault::damaged(bias, "it is empty"));
        }
        let narrow = |values: Vec<f64>| values.into_iter().map(|value| value as f32).collect::<Vec<f32>>();
        let weight = narrow(tensors.list(&weight, &[outputs, inputs])?);
        layers.push(Layer::new(&weight, narrow(tensors.list(&bias, &[outputs])?), inputs));
        inputs = outputs;
    }
    let count = layers.len();
    match layers.last().map(Layer::outputs) {
        Some(1) => {}
        Some(outputs) => {
            let cause = format!("the last layer has {outputs} outputs, not 1");
            return Err(Fault::unsupported(format!("fc{count}"), cause, REMEDY));
        }
        None => return Err(Fault::unsupported("", "there is neither `coef` nor `fc1.weight`", REMEDY)),
    }
    tensors.only(|name| {
        let parts = name.strip_prefix("fc").and_then(|rest| rest.split_once('.'));
        let number = parts.and_then(|(number, _)| number.parse::<usize>().ok());
        number.is_some_and(|number| (1..=count).contains(&number)) && matches!(parts, Some((_, "weight" | "bias")))
    })?;
    Ok(layers)
}

struct Tensors<'a>(SafeTensors<'a>);

impl Tensors<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.tensor(name).is_ok()
    }

    fn shape(&self, name: &str) -> Result<Vec<usize>, Fault> {
        let view = self.0.tensor(name).map_err(|_| Fault::unsupported("", format!("the tensor `{name}` is missing"), REMEDY))?;
        Ok(view.shape().to_vec())
    }

    fn list(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>, Fault> {
        let found = self.shape(name)?;
        if found != shape {
            return Err(Fault::damaged(name, format!("its shape is {found:?}, it should be {shape:?}")));
        }
        let view = self.0.tensor(name).map_err(|cause| Fault::damaged(name, cause.to_string()))?;
        let values: Vec<f64> = match view.dtype() {
            Dtype::F32 => view.data().as_chunks::<4>().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect(),
            Dtype::F64 => view.data().as_chunks::<8>().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect(),
            other => return Err(Fault::unsupported(name, format!("it is {other:?}"), "save it as F32 or F64")),
        };
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(Fault::damaged(name, format!("element {at} is {}", values[at]))),
            None => Ok(values),
        }
    }

    /// A tensor that is not used may be a layer that is not known.
    fn only(&self, known: impl Fn(&str) -> bool) -> Result<(), Fault> {
        let names = self.0.names();
        let odd = names.into_iter().filter(|name| !matches!(*name, "scaler.mean" | "scaler.scale") && !known(name)).min();
        match odd {
            None => Ok(()),
            Some(name) => Err(Fault::unsupported(name, "the tensor is not known", REMEDY)),
        }
    }
}
