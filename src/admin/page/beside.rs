//! The shadow and the ladder of a pipeline.

use super::cells::Out;
use super::view::PipelineView;
use super::words;
use crate::admin::forms::page::escaped;
use crate::telemetry::{RungTally, ShadowTally};

/// Pairs of a list at most.
const LISTED: usize = 6;

/// Nothing where a pipeline has neither.
pub fn shown(out: &mut Out, number: usize, pipeline: &PipelineView) {
    if let Some(rungs) = &pipeline.rungs {
        out.push("<div><h3>Ladder</h3>");
        out.block("div", format!("{number}.ladder"), ladder(rungs));
        out.push("</div>");
    }
    if let Some(shadow_tally) = &pipeline.shadow {
        out.push("<div><h3>Shadow</h3>");
        out.block("div", format!("{number}.shadow"), shadow(shadow_tally));
        out.push("</div>");
    }
}

fn ladder(rungs: &RungTally) -> String {
    let (rung, name) = rungs.in_force();
    let state = match rung {
        0 => "Nothing is given up".to_owned(),
        _ => format!("Degraded to <code>{}</code>", escaped(name)),
    };
    let item = |(name, count): (&str, u64)| format!("<li><code>{}</code> {}</li>", escaped(name), words::count(count));
    let items: String = rungs.events().map(item).collect();
    format!("<p class=\"about\">{state}; events that each rung has ended:</p><ul>{items}</ul>")
}

fn shadow(shadow: &ShadowTally) -> String {
    let (state, counts) = shadow.now();
    let state = match state.reason() {
        Some(reason) => format!("{}: {}", state.word(), escaped(reason)),
        None => state.word().to_owned(),
    };
    let agreement = counts.agreement().map_or_else(String::new, |share| format!(", {} the same", words::percent(share)));
    let moved = counts.differences.mean().map_or_else(String::new, |mean| format!("; scores move by {mean:+.3} on average"));
    let mut pairs: Vec<_> = counts.flips.iter().collect();
    pairs.sort_by(|one, other| other.1.cmp(one.1).then(one.0.cmp(other.0)));
    let item = |((champion, challenger), count): &(&(Box<str>, Box<str>), &u64)| {
        format!("<li><code>{}</code> to <code>{}</code> {}</li>", escaped(champion), escaped(challenger), words::count(**count))
    };
    let items: String = pairs.iter().take(LISTED).map(item).collect();
    let model = if shadow.model().is_empty() { String::new() } else { format!("<code>{}</code> ", escaped(shadow.model())) };
    format!(
        "<p class=\"about\">{model}{state}; {} compared{agreement}, {} found no place, {} failed{moved}</p><ul>{items}</ul>",
        words::count(counts.compared),
        words::count(counts.dropped),
        words::count(counts.failed)
    )
}
