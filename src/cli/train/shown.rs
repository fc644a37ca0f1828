//! The command as it stands in the card: without the places where files lay.

use super::args::{Args, Recipe};
use super::{frozen, full, name, setfit, taught};
use crate::train::task::Task;

/// With the defaults filled in.
pub fn shown(args: &Args, task: Task) -> String {
    let mut line = "millrace train".to_owned();
    for (option, value) in [
        ("from", args.from.as_deref().map(name)),
        ("new", args.new.map(|new| new.to_string())),
        ("tokenizer", args.tokenizer.map(|pieces| pieces.to_string())),
    ] {
        line += &value.map(|value| format!(" --{option} {value}")).unwrap_or_default();
    }
    line += &format!(" --train {} --out {}", name(&args.train), name(&args.out));
    if let Some(dev) = &args.dev {
        line += &format!(" --dev {}", name(dev));
    }
    if let Some(teacher) = &args.teacher {
        let (temperature, hard_weight) = taught::weighing(args);
        line += &format!(" --teacher {} --temperature {temperature} --hard-weight {hard_weight}", name(teacher));
        line += &args.unlabelled.as_deref().map(|path| format!(" --unlabelled {}", name(path))).unwrap_or_default();
    }
    line += &format!(" --task {}", task.name());
    if matches!(args.recipe, Recipe::Full | Recipe::Setfit) {
        line += &args.training.shown(full::usual(args.recipe));
        line += &args.max_tokens.map(|tokens| format!(" --max-tokens {tokens}")).unwrap_or_default();
    }
    let strengths = || frozen::strengths(args).iter().map(f64::to_string).collect::<Vec<_>>().join(",");
    match args.recipe {
        Recipe::Full => {}
        Recipe::Probe => line += &format!(" --recipe probe --c {}", strengths()),
        Recipe::Setfit => {
            line += &format!(" --recipe setfit --pairs {} --c {}", args.pairs.unwrap_or(setfit::PAIRS), strengths());
        }
        Recipe::Centroid => line += " --recipe centroid",
    }
    let mut add = |option: &str, value: Option<String>| {
        if let Some(value) = value {
            line += &format!(" --{option} {value}");
        }
    };
    add("word-dropout", args.word_dropout.map(|n| n.to_string()));
    add("layers", args.layers.map(|n| n.to_string()));
    add("max-rows", args.max_rows.map(|n| n.to_string()));
    add("dev-rows", args.dev_rows.map(|n| n.to_string()));
    args.prove_on.iter().for_each(|path| add("prove-on", Some(name(path))));
    add("text-column", args.text_column.clone());
    add("label-column", args.label_column.clone());
    add("class-weights", args.class_weights.as_ref().map(|wanted| wanted.to_string()));
    add("label-names", (!args.label_names.is_empty()).then(|| args.label_names.join(",")));
    let flags = [(args.prune_vocabulary, " --prune-vocabulary"), (args.keep_ids, " --keep-ids"), (args.int8, " --int8")];
    for (on, flag) in flags {
        line += if on { flag } else { "" };
    }
    line
}
