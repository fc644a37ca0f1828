//! What can be said of the training of weights, whatever is trained.

use crate::train::fit::Plan;

/// How weights are trained.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Training {
    /// Passes over the data. Default 1
    #[arg(long)]
    pub epochs: Option<usize>,
    /// Peak learning rate. Default 7e-5
    #[arg(long)]
    pub lr: Option<f64>,
    /// Examples of a step. Default 32
    #[arg(long)]
    pub batch: Option<usize>,
    /// Default 0.01
    #[arg(long)]
    pub weight_decay: Option<f64>,
    /// Share of values that each pass leaves out. Default 0
    #[arg(long)]
    pub dropout: Option<f32>,
    /// Train the last N layers and the head alone; the others stay as they are
    #[arg(long)]
    pub tune_layers: Option<usize>,
    /// Train the word, position and type tables too; a network that is drawn always does
    #[arg(long)]
    pub train_tables: bool,
    /// Of everything that is drawn. Default 42
    #[arg(long)]
    pub seed: Option<u64>,
    /// Measurements an epoch. Default 4
    #[arg(long)]
    pub checks: Option<usize>,
    /// End after N measurements without a better one
    #[arg(long)]
    pub patience: Option<usize>,
    /// End within so many minutes: the learning rate then falls by the clock
    #[arg(long)]
    pub minutes: Option<f64>,
    /// Stop after N steps, to measure speed
    #[arg(long)]
    pub max_steps: Option<usize>,
    /// Go on with a run of the same command that was cut off, to the same result; begin where there is none
    #[arg(long)]
    pub resume: bool,
    /// Write down every N seconds how far the run is. Default 60
    #[arg(long)]
    pub keep_seconds: Option<u64>,
}

impl Training {
    /// How long and how fast; `usual` is what nobody says.
    pub fn plan(&self, usual: Plan) -> Plan {
        Plan {
            epochs: self.epochs.unwrap_or(usual.epochs),
            rate: self.lr.unwrap_or(usual.rate),
            batch: self.batch.unwrap_or(usual.batch),
            weight_decay: self.weight_decay.unwrap_or(usual.weight_decay),
            seed: self.seed.unwrap_or(usual.seed),
            checks: self.checks.unwrap_or(usual.checks),
            minutes: self.minutes,
            max_steps: self.max_steps,
            patience: self.patience,
            ..usual
        }
    }

    /// Its options that are given, by name.
    pub fn given(&self) -> Vec<&'static str> {
        let options = [
            ("epochs", self.epochs.is_some()),
            ("lr", self.lr.is_some()),
            ("batch", self.batch.is_some()),
            ("weight-decay", self.weight_decay.is_some()),
            ("dropout", self.dropout.is_some()),
            ("seed", self.seed.is_some()),
            ("checks", self.checks.is_some()),
            ("patience", self.patience.is_some()),
            ("minutes", self.minutes.is_some()),
            ("max-steps", self.max_steps.is_some()),
            ("resume", self.resume),
            ("keep-seconds", self.keep_seconds.is_some()),
            ("tune-layers", self.tune_layers.is_some()),
            ("train-tables", self.train_tables),
        ];
        options.into_iter().filter(|(_, given)| *given).map(|(option, _)| option).collect()
    }

    /// An option whose number makes no sense, with what it must be.
    pub fn wrong(&self) -> Option<&'static str> {
        let above_zero = |value: Option<f64>| value.is_some_and(|value| !(value.is_finite() && value > 0.0));
        let zero = |value: Option<usize>| value == Some(0);
        let checks = [
            (above_zero(self.lr), "--lr must be above 0"),
            (above_zero(self.minutes), "--minutes must be above 0"),
            (self.weight_decay.is_some_and(|value| !(0.0..1.0).contains(&value)), "--weight-decay must be from 0 to below 1"),
            (self.dropout.is_some_and(|value| !(0.0..1.0).contains(&value)), "--dropout must be from 0 to below 1"),
            (zero(self.epochs), "--epochs must be 1 or more"),
            (zero(self.batch), "--batch must be 1 or more"),
            (zero(self.max_steps), "--max-steps must be 1 or more"),
            (zero(self.patience), "--patience must be 1 or more"),
            (
                self.tune_layers.is_some() && self.train_tables,
                "--tune-layers leaves the tables as they are; take out --train-tables",
            ),
        ];
        checks.into_iter().find(|(wrong, _)| *wrong).map(|(_, what)| what)
    }

    /// The options as they stand in a card: those that change the result, the commonest with their defaults filled in.
    pub fn shown(&self, usual: Plan) -> String {
        let plan = self.plan(usual);
        let mut line = format!(" --epochs {} --lr {} --batch {}", plan.epochs, plan.rate, plan.batch);
        line += &format!(" --weight-decay {} --seed {}", plan.weight_decay, plan.seed);
        let mut add = |option: &str, value: Option<String>| {
            line += &value.map(|value| format!(" --{option} {value}")).unwrap_or_default();
        };
        add("dropout", self.dropout.map(|n| n.to_string()));
        add("tune-layers", self.tune_layers.map(|n| n.to_string()));
        add("checks", self.checks.map(|n| n.to_string()));
        add("patience", self.patience.map(|n| n.to_string()));
        add("minutes", self.minutes.map(|n| n.to_string()));
        add("max-steps", self.max_steps.map(|n| n.to_string()));
        line + if self.train_tables { " --train-tables" } else { "" }
    }
}
