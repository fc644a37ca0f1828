//! The page as a whole: readiness, a line a pipeline, then each in detail, and the models.

use super::cells::Out;
use super::section::{place, section};
use super::view::{PipelineView, View};
use super::words;
use crate::admin::forms::page::{Frame, escaped};

/// So many pipelines are shown in detail at once.
const UNFOLDED: usize = 4;

/// What the page of a moment is made of; `open` names pipelines whose details are asked for.
pub fn overview(view: &View, open: &[String]) -> Out {
    let mut out = Out::default();
    out.push("<h1>Overview</h1>");
    ready(&mut out, view);
    if !view.pipelines.is_empty() {
        summary(&mut out, view);
    }
    let few = view.pipelines.len() <= UNFOLDED;
    for (number, pipeline) in view.pipelines.iter().enumerate() {
        let asked = open.contains(&pipeline.name);
        section(&mut out, number, pipeline, few || asked, asked);
    }
    models(&mut out, view);
    out.push(&format!(
        "<p class=\"about\">Millrace {}. The figures are this worker's own, counted since it started; <a href=\"/metrics\">metrics</a> and \
         <a href=\"/status\">status</a> have them for programs.</p>",
        env!("CARGO_PKG_VERSION")
    ));
    out
}

/// The same as a document.
pub fn document(view: &View, open: &[String]) -> String {
    let out = overview(view, open);
    let main = format!(" class=\"live wide\" data-set=\"{}\"", view.set());
    Frame { title: "Overview", body: &out.html, main: &main, script: Some("/page.js") }.html()
}

fn ready(out: &mut Out, view: &View) {
    let mut wrong: Vec<String> = view.missing.clone();
    wrong.extend(view.stale.iter().map(|name| format!("{name}: its poll thread stands still, so this worker is not alive")));
    let said = match wrong.is_empty() {
        true => "<p class=\"well\">Ready.</p>".to_owned(),
        false => {
            let all: String = wrong.iter().map(|what| format!("<li>{}</li>", escaped(what))).collect();
            format!("<p class=\"wrong\">Not ready:</p><ul>{all}</ul>")
        }
    };
    out.block("div role=\"status\"", "ready".into(), said);
    out.push("<p class=\"about\">As of ");
    out.text("span", "at".into(), &jiff::Timestamp::now().strftime("%H:%M:%S UTC").to_string());
    out.push(
        ". <span id=\"news\"></span><noscript>Without scripts this page does not change by itself: <a href=\"/\">show it as it is now</a>.\
         </noscript></p>",
    );
}

/// A line a pipeline. What tells that something is wrong stands first: a phone shows no more without being moved.
fn summary(out: &mut Out, view: &View) {
    out.push(
        "<div class=\"wide\" role=\"region\" aria-label=\"Pipelines\" tabindex=\"0\"><table class=\"summary\"><caption>Pipelines</caption><thead><tr>\
         <th scope=\"col\">Pipeline</th><th scope=\"col\">State</th><th scope=\"col\" class=\"num\">Lag</th>\
         <th scope=\"col\" class=\"num\">Dead letters</th><th scope=\"col\" class=\"num\">Latency p99</th>\
         <th scope=\"col\" class=\"num\">Events/s</th><th scope=\"col\" class=\"num\">Undecided</th>\
         <th scope=\"col\" class=\"num\">Busy</th></tr></thead><tbody>",
    );
    for (number, pipeline) in view.pipelines.iter().enumerate() {
        let key = |name: &str| format!("{number}.s.{name}");
        let (name, link) = (escaped(&pipeline.name), place(number));
        out.push(&format!("<tr><th scope=\"row\" class=\"name\"><a href=\"#{link}\">{name}</a></th>"));
        out.block("td", key("state"), state(pipeline));
        let number = "td class=\"num\"";
        out.text(number, key("lag"), &words::or_dash(pipeline.lag_seconds().map(words::seconds)));
        out.text(number, key("dead"), &words::count(pipeline.counts.dead.values().sum()));
        out.text(number, key("p99"), &words::or_dash(pipeline.now.age_p99.map(words::seconds)));
        out.text(number, key("rate"), &words::rate(pipeline.now.decided_per_second));
        out.text(number, key("undecided"), &words::or_dash(pipeline.undecided().map(words::signed)));
        out.text(number, key("busy"), &words::percent(pipeline.now.busy));
        out.push("</tr>");
    }
    out.push("</tbody></table></div>");
}

/// In words: colour alone says nothing.
pub fn state(pipeline: &PipelineView) -> String {
    let of = |count: usize, what: &str| format!("{count} of {} {what}", pipeline.partitions.len());
    let paused = pipeline.partitions.values().filter(|partition| partition.paused.is_some()).count();
    let waiting = pipeline.partitions.values().filter(|partition| partition.waits_for.is_some()).count();
    match (pipeline.in_state("halted"), pipeline.in_state("claiming"), pipeline.partitions.len()) {
        (_, _, 0) => "holds no partition".to_owned(),
        (0, 0, _) if paused > 0 => of(paused, "paused"),
        (0, 0, _) if waiting > 0 => of(waiting, "waiting for a version"),
        (0, 0, all) => format!("<span class=\"well\">running</span>, {all} partition{}", if all == 1 { "" } else { "s" }),
        (0, claiming, _) => of(claiming, "being claimed"),
        (halted, _, _) => format!("<span class=\"wrong\">{}</span>", of(halted, "halted")),
    }
}

fn models(out: &mut Out, view: &View) {
    let open = view.models.open.iter().map(String::as_str);
    let named = view.pipelines.iter().map(|pipeline| pipeline.limits.model.as_str()).filter(|model| !model.is_empty());
    let all: std::collections::BTreeSet<&str> = open.chain(named).collect();
    if all.is_empty() {
        return;
    }
    let row = |id: &&str| {
        let (name, digest) = id.rsplit_once('@').unwrap_or((id, ""));
        let (memory, unloads) = match view.models.loaded.get(name) {
            Some(of) if of.bytes > 0 => (words::bytes(of.bytes), words::count(of.unloads)),
            Some(of) => ("not loaded now".to_owned(), words::count(of.unloads)),
            None => ("shared or small".to_owned(), "0".to_owned()),
        };
        let (name, digest) = (escaped(name), escaped(digest));
        format!(
            "<tr><th scope=\"row\" class=\"name\">{name}</th><td><code>{digest}</code></td><td class=\"num\">{memory}</td>\
             <td class=\"num\">{unloads}</td></tr>"
        )
    };
    out.push(
        "<h2>Models</h2><div class=\"wide\" role=\"region\" aria-label=\"Models\" tabindex=\"0\"><table>\
         <caption class=\"unseen\">Models that are open</caption><thead><tr><th scope=\"col\">Model</th><th scope=\"col\">Digest</th>\
         <th scope=\"col\" class=\"num\">Memory</th><th scope=\"col\" class=\"num\">Times unloaded</th></tr></thead>",
    );
    out.block("tbody", "models".into(), all.iter().map(row).collect());
    out.push("</table></div>");
}
