//! One pipeline in detail.

use super::beside;
use super::cells::Out;
use super::overview::state;
use super::partitions;
use super::points::Point;
use super::spread;
use super::view::PipelineView;
use super::words;
use crate::admin::forms::{encoded, page::escaped};
use std::collections::BTreeMap;

/// Entries of a list at most; the others are told together.
const LISTED: usize = 8;

/// The name of a pipeline's place on the page.
pub fn place(number: usize) -> String {
    format!("pipeline-{number}")
}

pub fn section(out: &mut Out, number: usize, pipeline: &PipelineView, unfolded: bool, whole: bool) {
    let (name, path) = (escaped(&pipeline.name), encoded(&pipeline.name));
    let (function, model) = (escaped(&pipeline.limits.function), escaped(&pipeline.limits.model));
    let open = if unfolded { " open" } else { "" };
    out.push(&format!("<details class=\"pipeline\" id=\"{}\"{open}><summary><h2>{name}</h2> ", place(number)));
    out.block("span", format!("{number}.state"), state(pipeline));
    let model = if model.is_empty() { String::new() } else { format!(", model <code>{model}</code>") };
    out.push(&format!(
        "</summary><p class=\"about\">Function <a href=\"/functions/{path}\">{function}: try it in a form</a>{model}.</p><div class=\"tiles\">"
    ));
    tiles(out, number, pipeline);
    out.push("</div><div class=\"halves\">");
    scores(out, number, pipeline);
    labels(out, number, pipeline);
    reasons(out, number, pipeline);
    beside::shown(out, number, pipeline);
    out.push("</div>");
    partitions::folded(out, number, pipeline, whole);
    out.push("</details>");
}

/// A line of a tile: its class, its key, and what it shows.
type Line = (&'static str, &'static str, fn(&Point) -> Option<f32>);

fn tiles(out: &mut Out, number: usize, pipeline: &PipelineView) {
    let (now, counts, points) = (&pipeline.now, &pipeline.counts, &pipeline.points);
    let dash = |known: Option<f64>| words::or_dash(known.map(words::seconds));
    let mut tile = |key: &str, title: &str, figure: String, more: String, lines: &[Line]| {
        out.push(&format!("<div class=\"tile\"><h3>{title}</h3>"));
        out.text("p class=\"figure\"", format!("{number}.{key}"), &figure);
        out.text("p", format!("{number}.{key}.more"), &more);
        if !lines.is_empty() {
            let most = lines.iter().map(|(.., of)| points.most(*of)).fold(0.0, f32::max);
            out.push("<svg viewBox=\"0 0 120 30\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\">");
            for (class, line, of) in lines {
                out.line(class, format!("{number}.{line}"), points.path(*of, most));
            }
            out.push("</svg>");
        }
        out.push("</div>");
    };
    let most = |of: fn(&Point) -> Option<f32>| f64::from(points.most(of));
    tile(
        "rate",
        "Rate",
        format!("{} events/s", words::rate(now.decided_per_second)),
        format!(
            "read {}/s; {} events decided, {} records published; at most {}/s in 10 min",
            words::rate(now.consumed_per_second),
            words::count(counts.decided),
            words::count(counts.published),
            words::rate(most(|point| Some(point.rate)))
        ),
        &[("spark", "l.rate", |point| Some(point.rate))],
    );
    tile(
        "age",
        "Latency, p50 and p99",
        format!("{} and {}", dash(now.age_p50), dash(now.age_p99)),
        format!("from the log to the committed row; p99 at most {} in 10 min", words::seconds(most(|point| point.p99))),
        &[("spark", "l.p99", |point| point.p99), ("spark second", "l.p50", |point| point.p50)],
    );
    let number_of = |known: Option<i64>| words::or_dash(known.map(words::signed));
    let work = pipeline.work_seconds.map_or(String::new(), |seconds| format!("; {} of model work", words::seconds(seconds)));
    tile(
        "lag",
        "Lag",
        words::or_dash(pipeline.lag_seconds().map(words::seconds)),
        format!("{} undecided, {} unpublished{work}", number_of(pipeline.undecided()), number_of(pipeline.unpublished())),
        &[("spark", "l.lag", |point| point.lag)],
    );
    let limit = pipeline.limits.slice.max(1) as f64;
    let fill = now.slice.map(|slice| words::percent(slice / limit));
    tile(
        "busy",
        "Busy",
        words::percent(now.busy),
        format!("of the time a call is under way; a call takes {}, p99 {}", dash(now.call_p50), dash(now.call_p99)),
        &[("spark", "l.busy", |point| Some(point.busy))],
    );
    let slice = now.slice.map_or_else(|| "no call just now".to_owned(), |slice| format!("{} events a call", words::rate(slice)));
    tile("fill", "Batch fill", words::or_dash(fill), format!("{slice}, {} fit", words::count(pipeline.limits.slice as u64)), &[]);
    if !pipeline.limits.model.is_empty() {
        let more = format!("{} in all; networks take packed texts, so that padding is 0 %", words::count(counts.tokens));
        tile("tokens", "Tokens", format!("{}/s", words::rate(now.tokens_per_second)), more, &[]);
    }
}

fn scores(out: &mut Out, number: usize, pipeline: &PipelineView) {
    let (all, late) = (&pipeline.counts.scores, &pipeline.lately.scores);
    if all.total() == 0 && pipeline.past.as_ref().is_none_or(|past| past.total() == 0) {
        return;
    }
    out.push("<div class=\"spread\"><h3>Scores</h3>");
    out.block(
        "div",
        format!("{number}.scores"),
        spread::Scores { all, late, past: pipeline.past.as_deref(), up: pipeline.up }.drawn(&pipeline.limits.function),
    );
    out.push("</div>");
}

fn labels(out: &mut Out, number: usize, pipeline: &PipelineView) {
    let (all, late) = (&pipeline.counts.labels, &pipeline.lately.labels);
    if all.is_empty() {
        return;
    }
    let sum = |of: &BTreeMap<Box<str>, u64>| of.values().sum::<u64>().max(1) as f64;
    let (of_all, of_late) = (sum(all), sum(late));
    let share = |count: u64, of: f64| words::percent(count as f64 / of);
    let mut ranked: Vec<(&str, u64)> = all.iter().map(|(label, count)| (&**label, *count)).collect();
    ranked.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    let row = |(label, count): &(&str, u64)| {
        let lately = late.get(*label).copied().unwrap_or_default();
        let label = escaped(label);
        format!(
            "<tr><th scope=\"row\" class=\"name\">{label}</th><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td></tr>",
            share(lately, of_late),
            share(*count, of_all),
            words::count(*count)
        )
    };
    let mut rows: String = ranked.iter().take(LISTED).map(row).collect();
    if ranked.len() > LISTED {
        let count: u64 = ranked.iter().skip(LISTED).map(|(_, count)| count).sum();
        let lately: u64 = ranked.iter().skip(LISTED).filter_map(|(label, _)| late.get(*label)).sum();
        rows += &format!(
            "<tr><th scope=\"row\">{} more</th><td class=\"num\">{}</td><td class=\"num\">{}</td><td class=\"num\">{}</td></tr>",
            ranked.len() - LISTED,
            share(lately, of_late),
            share(count, of_all),
            words::count(count)
        );
    }
    out.push(
        "<div><table><caption>Labels and decisions</caption><thead><tr><th scope=\"col\">Label</th><th scope=\"col\" class=\"num\">10 min</th>\
         <th scope=\"col\" class=\"num\">Since start</th><th scope=\"col\" class=\"num\">Records</th></tr></thead>",
    );
    out.block("tbody", format!("{number}.labels"), rows);
    out.push("</table></div>");
}

/// Reasons, and how often each was given.
type Reasons = Vec<(String, u64)>;

/// Events that did not get what they came for: second best answers, dead letters, those that were skipped.
fn reasons(out: &mut Out, number: usize, pipeline: &PipelineView) {
    let counts = &pipeline.counts;
    let words_of =
        |of: &BTreeMap<&'static str, u64>| of.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect::<Reasons>();
    let fallbacks = counts.fallbacks.iter().map(|(reason, count)| (reason.to_string(), *count)).collect();
    let to = format!("<a href=\"/dead-letters?pipeline={}\">read them</a>", encoded(&pipeline.name));
    let lists: [(&str, &str, Reasons, &str); 3] = [
        ("fallbacks", "Fallbacks", fallbacks, ""),
        ("deads", "Dead letters", words_of(&counts.dead), &to),
        ("skips", "Skipped", words_of(&counts.skipped), ""),
    ];
    for (key, title, mut list, link) in lists {
        list.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let item =
            |(reason, count): &(String, u64)| format!("<li><code>{}</code> {}</li>", escaped(reason), words::count(*count));
        let mut items: String = list.iter().take(LISTED).map(item).collect();
        if list.len() > LISTED {
            let rest: u64 = list.iter().skip(LISTED).map(|(_, count)| count).sum();
            items += &format!("<li>{} more reasons {}</li>", list.len() - LISTED, words::count(rest));
        }
        let said = match (list.is_empty(), link) {
            (true, _) => "<p class=\"about\">none</p>".to_owned(),
            (false, "") => format!("<ul>{items}</ul>"),
            (false, link) => format!("<ul>{items}</ul><p class=\"about\">{link}</p>"),
        };
        out.push(&format!("<div><h3>{title}</h3>"));
        out.block("div", format!("{number}.{key}"), said);
        out.push("</div>");
    }
}
