//! The published models of the Fraud Detection Handbook score its test sets as they did where they were trained. The files are not
//! part of this repository: without `handbook` in `../shared/data/risk` or `MILLRACE_RISK_DIR` these tests say so and check nothing.

use crate::scoring::Model;
use flate2::read::GzDecoder;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/risk");
    let folder = std::env::var_os("MILLRACE_RISK_DIR").map_or_else(beside, PathBuf::from).join("handbook");
    let there = folder.join("golden").is_dir();
    if !there {
        crate::absent::absent(format!("{} is not there", folder.display()));
    }
    there.then_some(folder)
}

/// Header, and rows by the number in the first column.
fn table(path: &Path) -> (Vec<String>, HashMap<u64, Vec<f64>>) {
    let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(path).unwrap()));
    let header = reader.headers().unwrap().iter().map(str::to_owned).collect();
    let number = |text: &str| text.parse().unwrap_or(f64::NAN);
    let rows = reader.records().map(|record| {
        let record = record.unwrap();
        (record[0].parse().unwrap(), record.iter().map(number).collect())
    });
    (header, rows.collect())
}

/// The rows of the test sets, in the order of the models' features.
fn features(folder: &Path, wanted: &HashMap<u64, Vec<f64>>) -> HashMap<u64, Vec<f64>> {
    let (header, rows) = table(&folder.join("expected_features_0725_0904.csv.gz"));
    let mut reader = csv::Reader::from_reader(GzDecoder::new(File::open(folder.join("transactions.csv.gz")).unwrap()));
    let amount = reader.headers().unwrap().iter().position(|name| name == "TX_AMOUNT").unwrap();
    assert_eq!(header[1], "TX_DURING_WEEKEND", "the amount comes first, the other features follow in their order");
    let mut found = HashMap::new();
    for record in reader.records() {
        let record = record.unwrap();
        let id: u64 = record[0].parse().unwrap();
        if wanted.contains_key(&id) {
            let rest = &rows[&id][1..];
            found.insert(id, [record[amount].parse().unwrap()].into_iter().chain(rest.iter().copied()).collect());
        }
    }
    found
}

/// Would catch: thresholds compared in the wrong width or on the wrong side, a scaler left out, a base score misread.
#[test]
fn the_handbooks_models_score_its_test_sets() {
    let Some(folder) = folder() else { return };
    for start in ["2018-07-25", "2018-08-01"] {
        let (header, expected) = table(&folder.join(format!("golden/test_{start}.csv.gz")));
        let rows = features(&folder, &expected);
        assert_eq!(rows.len(), expected.len());
        let mut files = vec![("p_xgb", format!("xgb_{start}.json")), ("p_lgb", format!("lgb_{start}.txt"))];
        files.extend([("p_lr", format!("lr_{start}.json")), ("p_mlp", format!("mlp_{start}.safetensors"))]);
        if start == "2018-07-25" {
            files.push(("p_xgb", format!("xgb_{start}.v1_4_2.json")));
        }
        for (column, file) in files {
            let model = Model::load(&folder.join("golden").join(&file)).unwrap();
            let column = header.iter().position(|name| name == column).unwrap();
            for (id, row) in &rows {
                let (found, theirs) = (model.score(row).unwrap().probability, expected[id][column]);
                assert!((found - theirs).abs() <= 1e-6, "{file}, transaction {id}: {found}, theirs {theirs}");
            }
        }
    }
}

/// Would catch: weights of paths that are not exact, a bias that is not the expected margin.
#[test]
fn contributions_are_those_of_the_libraries() {
    let Some(folder) = folder() else { return };
    let start = "2018-07-25";
    for (file, shap) in [(format!("xgb_{start}.json"), "xgb"), (format!("lgb_{start}.txt"), "lgb")] {
        let model = Model::load(&folder.join("golden").join(&file)).unwrap();
        let (header, expected) = table(&folder.join(format!("golden/{shap}_shap_{start}.csv.gz")));
        assert_eq!(expected.len(), 1_000);
        let column = |name: &str| header.iter().position(|found| found == name);
        let columns: Vec<usize> = model.names().iter().map(|name| column(name).unwrap()).chain(column("BIAS")).collect();
        assert_eq!(columns.len(), 16, "15 features and the bias");
        for (id, row) in &features(&folder, &expected) {
            let found = model.contributions(row).unwrap();
            for (ours, at) in found.values.iter().chain([&found.bias]).zip(&columns) {
                let theirs = expected[id][*at];
                assert!((ours - theirs).abs() <= 1e-5, "{file}, transaction {id}, {}: {ours}, theirs {theirs}", header[*at]);
            }
            let scored = model.score(row).unwrap();
            assert!((found.margin() - scored.margin).abs() <= 1e-9, "{file}, transaction {id}: they do not add up to the margin");
        }
    }
}
