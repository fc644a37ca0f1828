//! The tables of `docs/reliability.md` name tests that there are.

use std::path::Path;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file of a module below `tests/it`, and what it holds.
fn module(names: &[&str]) -> Option<String> {
    let below = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(names.join("/"));
    [below.with_extension("rs"), below.join("mod.rs")].iter().find(|path| path.exists()).map(|path| read(path))
}

/// Would catch: a fault whose test was renamed or taken away, while the table goes on to claim it; a row that is gone.
#[test]
fn each_fault_names_a_test_that_there_is() {
    let page = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md"));
    let rows: Vec<&str> =
        page.lines().filter(|line| line.split('|').nth(1).is_some_and(|number| number.trim().parse::<u8>().is_ok())).collect();
    assert_eq!(rows.len(), 29);
    let mut named = 0;
    for row in rows {
        for quoted in row.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("::")) {
            let (test, modules) = quoted.split("::").collect::<Vec<_>>().split_last().map(|(a, b)| (*a, b.to_vec())).unwrap();
            let text = module(&modules).unwrap_or_else(|| panic!("{quoted} has no file"));
            assert!(text.contains(&format!("fn {test}(")), "there is no test {quoted}");
            named += 1;
        }
    }
    assert!(named >= 27, "{named} tests are named");
}
