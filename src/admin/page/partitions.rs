//! The partitions of a pipeline that this worker holds.

use super::cells::Out;
use super::view::PipelineView;
use super::words;
use crate::admin::PartitionStatus;
use crate::admin::forms::{encoded, page::escaped};

/// So many are shown at once; more are folded, and sent when somebody unfolds them.
const UNFOLDED: usize = 8;

/// The table, or the place for its rows where they are many.
pub fn folded(out: &mut Out, number: usize, pipeline: &PipelineView, whole: bool) {
    let (name, all) = (escaped(&pipeline.name), pipeline.partitions.len());
    let few = all <= UNFOLDED;
    let open = if few || whole { " open" } else { "" };
    out.push(&format!("<details data-partitions=\"{number}\" data-of=\"{name}\"{open}><summary>Partitions "));
    out.text("span", format!("{number}.held"), &format!("({all})"));
    out.push("</summary>");
    let owner = pipeline.partitions.values().map(|one| one.owner.as_str()).find(|owner| !owner.is_empty());
    out.text(
        "p class=\"about\"",
        format!("{number}.owner"),
        &match owner {
            Some(owner) => format!("Held by this worker, {owner}. Those that others hold are on their pages."),
            None => "This worker holds none now; those that others hold are on their pages.".to_owned(),
        },
    );
    if !few && !whole {
        let path = encoded(&pipeline.name);
        out.push(&format!(
            "<noscript><p><a href=\"/?open={path}#pipeline-{number}\">Show all {all} partitions of {name}</a></p></noscript>"
        ));
    }
    out.push(&format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"Partitions of {name}\" tabindex=\"0\"><table>\
         <caption class=\"unseen\">Partitions of {name}</caption><thead><tr><th scope=\"col\">Partition</th><th scope=\"col\">State</th>\
         <th scope=\"col\" class=\"num\">Decided to (P)</th><th scope=\"col\" class=\"num\">Published to (K)</th>\
         <th scope=\"col\" class=\"num\">End</th><th scope=\"col\" class=\"num\">Undecided</th><th scope=\"col\" class=\"num\">Unpublished</th>\
         <th scope=\"col\" class=\"num\">Lag</th><th scope=\"col\" class=\"num\">Claim</th><th scope=\"col\">Why</th></tr></thead>\
         <tbody data-rows=\"{number}\">{}</tbody></table></div></details>",
        if few || whole { rows(pipeline) } else { String::new() }
    ));
}

/// The version in force, where there was a swap, and what it waits for.
fn version(status: &PartitionStatus) -> String {
    let of = status.version.as_ref().map(|of| match (&of.canary, of.share) {
        (Some(canary), Some(share)) => format!("version {}, {} for {share} of the keys", escaped(&of.version), escaped(canary)),
        _ => format!("version {}", escaped(&of.version)),
    });
    let waits = status.waits_for.as_deref().map(|why| format!("waits: {}", escaped(why)));
    of.into_iter().chain(waits).collect::<Vec<_>>().join("; ")
}

/// One row each, in the order of topics and numbers.
pub fn rows(pipeline: &PipelineView) -> String {
    let number =
        |name: &str| name.rsplit_once('/').and_then(|(topic, number)| Some((topic.to_owned(), number.parse::<i32>().ok()?)));
    let mut all: Vec<(&String, &PartitionStatus)> = pipeline.partitions.iter().collect();
    all.sort_by_cached_key(|(name, _)| number(name).unwrap_or_else(|| ((*name).clone(), 0)));
    all.into_iter().map(|(name, status)| row(name, status)).collect()
}

fn row(name: &str, status: &PartitionStatus) -> String {
    let offset = |known: Option<i64>| words::or_dash(known.map(words::signed));
    let state = match (status.state.as_str(), &status.paused, status.waits) {
        ("halted", ..) => "<span class=\"wrong\">halted</span>".to_owned(),
        (_, Some(_), _) => "paused".to_owned(),
        ("running", None, true) => "running, not read for now".to_owned(),
        (state, ..) => escaped(state),
    };
    let why = match (&status.halted, &status.paused, status.waits) {
        (Some(reason), ..) => escaped(reason),
        (None, Some(pause), _) => {
            format!("paused by {} since {}: {}", escaped(&pause.by), escaped(&pause.since), escaped(&pause.reason))
        }
        (None, None, true) => "what was read of it fills its window, or the memory budget is full".to_owned(),
        (None, None, false) => String::new(),
    };
    let why = [why, version(status)].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    let cells: String = [
        offset(status.next_offset),
        offset(status.committed_offset),
        offset(status.end_offset),
        offset(status.lag_undecided),
        offset(status.lag_unpublished),
        words::or_dash(status.lag_seconds.map(words::seconds)),
        offset(status.epoch),
    ]
    .map(|cell| format!("<td class=\"num\">{cell}</td>"))
    .concat();
    let name = escaped(name);
    format!("<tr><th scope=\"row\" class=\"name\">{name}</th><td>{state}</td>{cells}<td class=\"why\">{why}</td></tr>")
}
