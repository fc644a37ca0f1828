//! The models of `../shared/data/risk` score as the libraries that trained them.

use crate::support::absent::absent;
use flate2::read::GzDecoder;
use millrace::scoring::Model;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

pub const FOLDS: [&str; 2] = ["2018-07-25", "2018-08-01"];

/// A folder of the risk data: below `MILLRACE_RISK_DIR`, else beside the repository.
pub fn risk(folder: &str) -> Option<PathBuf> {
    let root = std::env::var_os("MILLRACE_RISK_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/risk"), PathBuf::from);
    let path = root.join(folder);
    if !path.exists() {
        absent(format!("{folder} is not here; set MILLRACE_RISK_DIR to the folder that holds it"));
        return None;
    }
    Some(path)
}

/// Header and numbers of a gzipped CSV file, keyed by its first column.
pub fn table(path: &Path) -> (Vec<String>, Vec<(u64, Vec<f64>)>) {
    let file = std::fs::File::open(path).unwrap();
    let mut lines = BufReader::new(GzDecoder::new(file)).lines().map(Result::unwrap);
    let header = lines.next().unwrap().split(',').skip(1).map(str::to_owned).collect();
    let rows = lines.map(|line| {
        let (key, rest) = line.split_once(',').unwrap();
        (key.parse().unwrap(), rest.split(',').map(|number| number.parse().unwrap()).collect())
    });
    (header, rows.collect())
}

/// The 15 features of the handbook's transactions in the fixture: the amount, then the derived ones.
pub fn handbook(folder: &Path) -> (Vec<String>, HashMap<u64, Vec<f64>>) {
    let (mut names, rows) = table(&folder.join("expected_features_0725_0904.csv.gz"));
    names.insert(0, "TX_AMOUNT".into());
    let mut rows: HashMap<u64, Vec<f64>> = rows.into_iter().collect();
    let file = std::fs::File::open(folder.join("transactions.csv.gz")).unwrap();
    for line in BufReader::new(GzDecoder::new(file)).lines().skip(1).map(Result::unwrap) {
        let (id, rest) = line.split_once(',').unwrap();
        if let Some(row) = rows.get_mut(&id.parse().unwrap()) {
            row.insert(0, rest.split(',').nth(3).unwrap().parse().unwrap());
        }
    }
    (names, rows)
}

fn model(path: &Path, names: &[String]) -> Model {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut model = Model::load(path).unwrap();
    if !model.is_named() {
        model.declare(&names).unwrap();
    }
    model.check_features(&names).unwrap();
    model
}

/// Would catch: a comparison that is strict where it should not be, f32 thresholds read as f64 or the other way round, a base
/// score read wrongly in either layout, a scaler that is dropped, leaves of the wrong child.
#[test]
fn handbook_models_score_as_their_libraries() {
    let Some(folder) = risk("handbook") else { return };
    let golden = folder.join("golden");
    let (names, rows) = handbook(&folder);
    for fold in FOLDS {
        let (columns, expected) = table(&golden.join(format!("test_{fold}.csv.gz")));
        assert!(expected.len() > 50_000);
        for (file, column) in [
            (format!("xgb_{fold}.json"), "p_xgb"),
            ("xgb_2018-07-25.v1_4_2.json".into(), "p_xgb"),
            (format!("lgb_{fold}.txt"), "p_lgb"),
            (format!("lr_{fold}.json"), "p_lr"),
            (format!("mlp_{fold}.safetensors"), "p_mlp"),
        ] {
            if file.contains("v1_4_2") && fold != FOLDS[0] {
                continue;
            }
            let column = columns.iter().position(|name| name == column).unwrap();
            let scored = model(&golden.join(&file), &names).score_all(expected.iter().map(|(id, _)| &rows[id][..]));
            let off = scored.iter().zip(&expected).map(|(scored, (_, row))| (scored.unwrap().probability - row[column]).abs());
            let worst = off.fold(0.0, f64::max);
            eprintln!("{file}: {} rows, |p - golden| <= {worst:.1e}", expected.len());
            assert!(worst <= 1e-6, "{file} is off by {worst:e}");
        }
    }
}

/// Would catch: approximate contributions, a bias that is not the mean of the training data, features that change places.
#[test]
fn handbook_contributions_equal_those_of_the_libraries() {
    let Some(folder) = risk("handbook") else { return };
    let golden = folder.join("golden");
    let (names, rows) = handbook(&folder);
    for (file, explained) in [("xgb_2018-07-25.json", "xgb_shap"), ("lgb_2018-07-25.txt", "lgb_shap")] {
        let model = model(&golden.join(file), &names);
        let (columns, expected) = table(&golden.join(format!("{explained}_2018-07-25.csv.gz")));
        let first = columns.iter().position(|name| *name == names[0]).unwrap();
        assert_eq!(columns[first..first + names.len()], names[..]);
        let (mut worst, mut unlike) = (0.0_f64, 0.0_f64);
        for (id, expected) in &expected {
            let found = model.contributions(&rows[id]).unwrap();
            let off = found.values.iter().chain([&found.bias]).zip(&expected[first..]).map(|(a, b)| (a - b).abs());
            worst = off.fold(worst, f64::max);
            unlike = unlike.max((found.margin() - model.score(&rows[id]).unwrap().margin).abs());
        }
        eprintln!("{file}: {} rows, |contribution - golden| <= {worst:.1e}, |sum - margin| <= {unlike:.1e}", expected.len());
        assert!(expected.len() == 1_000 && worst <= 1e-5 && unlike <= 1e-9, "{file}: {worst:e}, {unlike:e}");
    }
}

/// Would catch: missing values and negative codes that LightGBM sends another way.
#[test]
fn credit_models_score_as_their_library() {
    let Some(folder) = risk("uci_credit_default") else { return };
    let (mut names, clients) = table(&folder.join("default_of_credit_card_clients.csv.gz"));
    names.pop();
    let clients: HashMap<u64, Vec<f64>> = clients.into_iter().collect();
    let (columns, expected) = table(&folder.join("golden/oof_predictions.csv.gz"));
    let column = columns.iter().position(|name| name == "p_lgb").unwrap();
    for fold in 0..2 {
        let model = model(&folder.join(format!("golden/lgb_fold{fold}.txt")), &names);
        let rows: Vec<_> = expected.iter().filter(|(_, row)| row[0] == f64::from(fold)).collect();
        let scored = model.score_all(rows.iter().map(|(id, _)| &clients[id][..names.len()]));
        let off = scored.iter().zip(&rows).map(|(scored, (_, row))| (scored.unwrap().probability - row[column]).abs());
        let worst = off.fold(0.0, f64::max);
        eprintln!("lgb_fold{fold}.txt: {} rows, |p - golden| <= {worst:.1e}", rows.len());
        assert!(rows.len() == 6_000 && worst <= 1e-6, "fold {fold} is off by {worst:e}");
    }
}
