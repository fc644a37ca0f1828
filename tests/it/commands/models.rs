//! `millrace models check` as it is called.

use std::process::{Command, Output};

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["models", "check"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.output().unwrap()
}

/// Would catch: a model that is used with features in another order, and one that cannot be read but is said to be fine.
#[test]
fn a_model_is_told_and_wrong_features_are_refused() {
    let file = "tests/fixtures/scoring/xgb_fitted_base.json";
    let output = check(&[file, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(report["digest"].as_str().is_some_and(|digest| digest.len() == 64) && report["trees"].as_u64() > Some(0), "{report}");
    let mut names: Vec<&str> = report["features"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    assert_eq!(check(&[file, "--features", &names.join(",")]).status.code(), Some(0));
    names.swap(0, 1);
    let refused = check(&[file, "--features", &names.join(",")]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(names[0]), "{refused:?}");
    assert_eq!(check(&[file, "--row", "1"]).status.code(), Some(2), "too few numbers are wrong usage");
    assert_eq!(check(&["README.md"]).status.code(), Some(1));
}
