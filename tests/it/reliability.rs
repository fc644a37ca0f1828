//! The tables of `docs/reliability.md` name tests that there are, and each safety with the world that shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn of_repository(path: &str) -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

/// The file of a module below `tests/it` or else below `src`, and what it holds.
fn module(names: &[&str]) -> Option<String> {
    let below = |root: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(root).join(names.join("/"));
    let files = ["tests/it", "src"].map(below).into_iter().flat_map(|path| [path.with_extension("rs"), path.join("mod.rs")]);
    files.into_iter().find(|path| path.exists()).map(|path| read(&path))
}

/// What stands in a row between backticks.
fn quoted(row: &str) -> impl Iterator<Item = &str> {
    row.split('`').skip(1).step_by(2)
}

/// Would catch: a fault whose test was renamed or taken away, while a table goes on to claim it; a row of the faults that is gone.
#[test]
fn each_row_names_tests_that_there_are() {
    let page = of_repository("docs/reliability.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with('|')).collect();
    let faults = rows.iter().filter(|row| row.split('|').nth(1).is_some_and(|number| number.trim().parse::<u8>().is_ok()));
    assert_eq!(faults.count(), 29);
    let mut named = 0;
    // Types and commands stand there too.
    let is_test = |name: &&str| name.contains("::") && !name.contains(' ') && name.starts_with(|c: char| c.is_ascii_lowercase());
    for test in rows.into_iter().flat_map(quoted).filter(is_test) {
        let (name, modules) = test.split("::").collect::<Vec<_>>().split_last().map(|(a, b)| (*a, b.to_vec())).unwrap();
        let text = module(&modules).unwrap_or_else(|| panic!("{test} has no file"));
        assert!(text.contains(&format!("fn {name}(")), "there is no test {test}");
        named += 1;
    }
    assert!(named >= 60, "{named} tests are named");
}

/// Would catch: a safety that the page does not know, one that it goes on to name, a world that is not the one in which its absence is looked for.
#[test]
fn each_safety_names_the_world_that_shows_it() {
    let (names, simulation) = (of_repository("src/pipeline/safety.rs"), of_repository("src/pipeline/simulation.rs"));
    let (_, variants) = names.split_once("pub enum Safety {").unwrap();
    let (variants, _) = variants.split_once('}').unwrap();
    let variants: Vec<&str> = variants.lines().filter_map(|line| line.trim().strip_suffix(',')).collect();
    let (_, worlds) = simulation.split_once("const MUTANTS").unwrap();
    let world = |safety: &str| {
        let (_, rest) = worlds.split_once(&format!("(Safety::{safety}, &[Trouble::"))?;
        rest.split_once(']').map(|(world, _)| world)
    };
    let page = of_repository("docs/reliability.md");
    let (_, table) = page.split_once("| safety | ").expect("the page has a table of safeties");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let told: BTreeMap<&str, &str> = rows.map(|row| (quoted(row).next().unwrap(), quoted(row).last().unwrap())).collect();
    assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), variants.iter().copied().collect::<BTreeSet<_>>());
    for safety in variants {
        match world(safety) {
            Some(world) => assert_eq!(told[safety], world, "{safety}"),
            // A world that is told by hand, with the safety and without it.
            None => {
                let (_, test) = told[safety].rsplit_once("::").unwrap_or_else(|| panic!("{safety} names no test"));
                let (_, body) =
                    simulation.split_once(&format!("fn {test}()")).unwrap_or_else(|| panic!("there is no test {test}"));
                let (body, _) = body.split_once("\n}").unwrap();
                assert!(body.contains(&format!("Safety::{safety}")), "{test} does not take out {safety}");
            }
        }
    }
}
