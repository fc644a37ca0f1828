//! Every command of README and `docs`, as a reader runs it, and every link.

mod page;
mod reader;
mod reference;

use crate::support::services::{Kind as Service, Service as Own};
use page::{Kind, pages, root};
use reader::Reader;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Pages that are followed at the same time: most of it is waiting. No two pages name the same topic or pipeline.
const AT_ONCE: usize = 3;

/// Blocks that no test can run. One more is one that nobody tries.
const NOT_RUN: usize = 16;

/// `MILLRACE_PAGE=transcripts` follows the pages alone whose names have that.
///
/// Would catch: a command that does not exist, a config that is refused, an output that is no longer what the page shows.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_runs() {
    let kafka = Own::up(Service::Kafka);
    let (places, mut following) = (Arc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    // Runbooks are for what no test can make happen: `boards` checks their commands and queries.
    let wanted = std::env::var("MILLRACE_PAGE").unwrap_or_default();
    let runs = |page: &page::Page| {
        let is_run = !page.name.starts_with("docs/runbooks") && page.blocks.iter().any(|block| block.kind == Kind::Sh);
        is_run && page.name.contains(&wanted)
    };
    for page in pages().into_iter().filter(runs) {
        let (places, brokers) = (places.clone(), kafka.address());
        let runtime = Handle::current();
        // A thread each: readers wait for what a shell says.
        following.spawn_blocking(move || {
            runtime.block_on(async {
                let _place = places.acquire().await.unwrap();
                let began = Instant::now();
                Reader::new(&brokers).await.follow(&page).await;
                eprintln!("{}: {:.1} s", page.name, began.elapsed().as_secs_f32());
            });
        });
    }
    // Kafka is there until all have come to their end.
    let mut failed = None;
    while let Some(followed) = following.join_next().await {
        failed = failed.or(followed.err());
    }
    if let Some(failed) = failed {
        std::panic::resume_unwind(failed.into_panic());
    }
}

/// Would catch: a page that grows by commands that nobody runs.
#[test]
fn what_is_not_run_says_why() {
    let mut left = Vec::new();
    for page in pages() {
        for block in &page.blocks {
            if let Kind::NoRun(why) = &block.kind {
                assert!(why.len() > 10, "{}:{} does not say why it is not run", page.name, block.line);
                left.push(format!("{}:{} {why}", page.name, block.line));
            }
        }
    }
    assert_eq!(left.len(), NOT_RUN, "not run:\n{}", left.join("\n"));
}

/// Would catch: a command that hides in a block of no language, where nobody runs it and nothing says why.
#[test]
fn commands_stand_in_blocks_of_a_shell() {
    let begins = ["millrace ", "target/release/millrace ", "deploy/"];
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.kind == Kind::Other(String::new())) {
            let command =
                block.text.lines().find(|line| begins.iter().any(|begin| line.trim_start_matches("$ ").starts_with(begin)));
            assert!(
                command.is_none(),
                "{}:{} has a command: fence it as `sh`, or as `sh no-run REASON`: {command:?}",
                page.name,
                block.line
            );
        }
    }
}

/// Would catch: a link to a page that was moved, or to a section of another name.
#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let folder = root().join(&page.name).parent().unwrap().to_owned();
        let targets = page.text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            let (path, section) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() { root().join(&page.name) } else { folder.join(path) };
            assert!(file.exists(), "{}: {target} leads nowhere", page.name);
            if !section.is_empty() && file.extension().is_some_and(|end| end == "md") {
                let text = std::fs::read_to_string(&file).unwrap();
                assert!(has_section(&text, section), "{}: {target} leads to no section", page.name);
            }
        }
    }
}

/// Whether a heading has that name, as it is made of headings: small letters and digits, hyphens for spaces.
fn has_section(text: &str, section: &str) -> bool {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    let name = |heading: &str| {
        let kept = heading.trim_start_matches('#').trim().to_lowercase();
        kept.chars().filter(is_kept).collect::<String>().replace(' ', "-")
    };
    let mut in_code = false;
    text.lines().any(|line| {
        in_code ^= line.starts_with("```");
        !in_code && line.starts_with('#') && name(line) == section
    })
}
