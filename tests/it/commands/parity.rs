//! `millrace parity` as it is called, on features that were computed by hand.

use std::path::Path;
use std::process::Command;

const CONFIG: &str = r#"
[risk]
non_negative = ["amount"]
file = { id = "id", time = "time", unit = "s", since = "2018-04-01T00:00:00Z" }
feature = [
  { name = "n", entity = "card", aggregate = "count", window = "1d" },
  { name = "mean", entity = "card", aggregate = "mean", field = "amount", window = "7d" },
  { name = "share", entity = "shop", aggregate = "share", field = "fraud", window = "7d", delay = "1d" },
]
"#;

/// A window ends behind its first moment: event 3 comes a day after event 2 and does not see it, event 5 sees it as a label eight
/// days late, and not event 1. Event 4 sees the label of event 2 at the very moment when it arrives. Event 6 is refused.
const EVENTS: &str = "id,time,card,shop,amount,fraud\n1,0,A,X,10,0\n2,3600,A,X,20,1\n3,90000,A,Y,30,0\n4,90000,B,X,5,0\n\
                      5,691200,A,X,40,0\n6,691201,A,X,-1,0\n";
const FEATURES: &str = "id,n,mean,share\n1,1,10,0\n2,2,15,0\n3,1,20,0\n4,1,5,0.5\n5,1,35,0.5\n";

fn parity(folder: &Path, features: &str) -> (Option<i32>, serde_json::Value) {
    for (name, text) in [("millrace.toml", CONFIG), ("events.csv", EVENTS), ("features.csv", features)] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
    command.args(["parity", "--input", "events.csv", "--reference", "features.csv", "--json"]).current_dir(folder);
    let output = command.output().unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code(), report)
}

/// Would catch: windows that hold their first moment or lose their last, a delay that is not kept, an amount below zero that is
/// folded, and rows that differ without a word.
#[test]
fn features_by_hand_are_those_of_the_fold() {
    let folder = tempfile::tempdir().unwrap();
    let (code, report) = parity(folder.path(), FEATURES);
    assert_eq!((code, report["differing"].as_i64(), report["rows"].as_i64()), (Some(0), Some(0), Some(5)), "{report}");
    let rejected = report["rejected"].as_object().unwrap();
    assert!(rejected.len() == 1 && rejected.iter().all(|(place, count)| place.ends_with("amount") && *count == 1), "{report}");
    for wrong in ["4,1,5,0.25", "4,1,6,0.5", "4,2,5,0.5"] {
        let (code, report) = parity(folder.path(), &FEATURES.replace("4,1,5,0.5", wrong));
        assert_eq!((code, report["differing"].as_i64()), (Some(1), Some(1)), "{wrong}: {report}");
        assert!(report["first"].to_string().contains('4'), "{report}");
    }
}
