//! Inputs that once did harm, or that end in a way of their own, kept by `benches/fuzz.rs`.

#[path = "../fuzz/mod.rs"]
mod fuzz;

use std::collections::BTreeMap;
use std::path::Path;

/// Would catch: a panic that comes back, and a refusal that says nothing.
#[test]
fn every_kept_input_has_an_outcome() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let targets: BTreeMap<String, fuzz::targets::Target> =
        fuzz::targets::all().into_iter().map(|target| (target.name.clone(), target)).collect();
    let mut cases = 0;
    for folder in corpus.read_dir().unwrap().map(|entry| entry.unwrap()) {
        let name = folder.file_name().into_string().unwrap();
        let target = targets.get(&name).unwrap_or_else(|| panic!("no target {name}"));
        for case in folder.path().read_dir().unwrap().map(|entry| entry.unwrap()) {
            let full = case.file_name().into_string().unwrap();
            let (file, _hash) = full.rsplit_once('.').unwrap();
            let ended = fuzz::run(target, file, &std::fs::read(case.path()).unwrap());
            assert!(ended.panics.is_empty(), "{name}/{full}: {:?}", ended.panics);
            assert!(!ended.outcome.trim().is_empty(), "{name}/{full} ends without a word");
            cases += 1;
        }
    }
    assert!(cases > 100, "only {cases} cases are kept");
}
