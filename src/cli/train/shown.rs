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
    match args.recipe {
        Recipe::Full | Recipe::Setfit => {
            let plan = full::plan(args);
            line += &format!(" --epochs {} --lr {} --batch {}", plan.epochs, plan.rate, plan.batch);
            line += &format!(" --weight-decay {} --seed {}", plan.weight_decay, plan.seed);
            if let Some(tokens) = args.max_tokens {
                line += &format!(" --max-tokens {tokens}");
            }
        }
        Recipe::Probe | Recipe::Centroid => {}
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
    add("dropout", args.dropout.map(|n| n.to_string()));
    add("word-dropout", args.word_dropout.map(|n| n.to_string()));
    add("layers", args.layers.map(|n| n.to_string()));
    add("tune-layers", args.tune_layers.map(|n| n.to_string()));
    add("max-rows", args.max_rows.map(|n| n.to_string()));
    add("dev-rows", args.dev_rows.map(|n| n.to_string()));
    add("checks", args.checks.map(|n| n.to_string()));
    add("patience", args.patience.map(|n| n.to_string()));
    add("minutes", args.minutes.map(|n| n.to_string()));
    add("max-steps", args.max_steps.map(|n| n.to_string()));
    args.prove_on.iter().for_each(|path| add("prove-on", Some(name(path))));
    add("text-column", args.text_column.clone());
    add("label-column", args.label_column.clone());
    add("label-names", (!args.label_names.is_empty()).then(|| args.label_names.join(",")));
    let flags = [(args.train_tables, " --train-tables"), (args.prune_vocabulary, " --prune-vocabulary"), (args.int8, " --int8")];
    for (on, flag) in flags {
        line += if on { flag } else { "" };
    }
    line
}
