//! Files that are no models, or were changed: refused in words, never a panic.

use super::{fixture, refusal};
use crate::scoring::{LoadError, Model};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const FILES: [&str; 7] = [
    "xgb_fitted_base.json",
    "xgb_squared_error.json",
    "lgb_nan_sigmoid.txt",
    "lgb_zero_as_missing.txt",
    "lgb_no_missing.txt",
    "lgb_categories.txt",
    "lgb_regression.txt",
];

/// What may come of any bytes: a refusal, or a model that scores and explains without a panic.
fn try_all(bytes: &[u8]) -> bool {
    let Ok(model) = Model::parse(bytes) else { return false };
    for x in [0.0, -1.0, 1e300, f64::NAN, f64::INFINITY, 7.5] {
        let row = vec![x; model.names().len()];
        let scored = model.score(&row);
        model.contributions(&row);
        assert!(scored.is_err() || scored.is_ok_and(|scored| (0.0..=1.0).contains(&scored.probability)));
    }
    true
}

/// Would catch: an index into an array that is too short, a cycle, an endless loop, a panic in a reader.
#[test]
fn changed_files_are_refused_or_scored_and_never_panic() {
    let mut random = StdRng::seed_from_u64(3);
    let rounds = std::env::var("MILLRACE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(400);
    for file in FILES {
        let whole = std::fs::read(fixture(file)).unwrap();
        assert!(try_all(&whole), "{file}");
        let mut read = 0;
        for _ in 0..rounds {
            let mut changed = whole.clone();
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..changed.len());
                match random.random_range(0..4) {
                    0 => changed[at] = b"0123456789-., =[]{}eE\n"[random.random_range(0..22)],
                    1 => drop(changed.remove(at)),
                    2 => changed.insert(at, b"0123456789-"[random.random_range(0..11)]),
                    _ => changed.truncate(at.max(1)),
                }
            }
            read += u32::from(try_all(&changed));
        }
        assert!(read > 0, "{file}: nothing that was changed could be read, so nothing was scored");
    }
}

/// Would catch: a file that ends early and is taken for a smaller model.
#[test]
fn a_file_that_was_cut_off_is_refused() {
    for file in FILES {
        let whole = std::fs::read(fixture(file)).unwrap();
        let end = if file.ends_with("txt") {
            whole.windows(12).position(|window| window == b"end of trees").unwrap()
        } else {
            whole.trim_ascii_end().len()
        };
        for cut in (0..end).step_by(61).chain([end - 1]) {
            assert!(Model::parse(&whole[..cut]).is_err(), "{file} cut at {cut} of {}", whole.len());
        }
    }
}

/// Would catch: a LightGBM file that says more than is understood, numbers that contradict each other.
#[test]
fn lightgbm_files_that_are_not_understood_are_refused() {
    let text = std::fs::read_to_string(fixture("lgb_categories.txt")).unwrap();
    for (from, to, said) in [
        ("version=v4", "version=v9", "the version is \"v9\""),
        ("num_class=1", "num_class=3", "several outputs"),
        ("num_tree_per_iteration=1", "num_tree_per_iteration=2", "several outputs"),
        ("objective=binary sigmoid:1", "objective=lambdarank", "the objective is \"lambdarank\""),
        ("objective=binary sigmoid:1", "objective=binary sigmoid:0", "sigmoid is \"0\""),
        ("objective=binary sigmoid:1", "objective=regression sqrt", "\"sqrt\" of the objective"),
        ("objective=", "average_output\nobjective=", "\"average_output\" is not known"),
        ("is_linear=0", "is_linear=1", "tree 0: its leaves are linear models"),
        ("shrinkage=1", "shrinkage=1\nleaf_coeff=1", "tree 0: \"leaf_coeff\" is not known"),
        ("max_feature_idx=3", "max_feature_idx=4", "4 names for 5 features"),
        ("max_feature_idx=3", "max_feature_idx=99999999999", "100000000000 features"),
        ("Tree=1\n", "Tree=2\n", "tree 2: it stands where tree 1 should"),
        ("num_leaves=6", "num_leaves=0", "it has no leaf"),
        ("num_leaves=6", "num_leaves=18446744073709551615", "it should have 18446744073709551614"),
        ("left_child=1", "left_child=77", "its child is split 77 of 5"),
        ("left_child=1", "left_child=-77", "its child is leaf -77"),
        ("left_child=1", "left_child=-9223372036854775808", "its child is leaf"),
        ("left_child=1", "left_child=0", "reached on two ways or from itself"),
        ("decision_type=2", "decision_type=14", "its decision_type 14 is not known"),
        ("decision_type=2", "decision_type=3", "its set of categories"),
        ("cat_boundaries=0 ", "cat_boundaries=9 ", "its set of categories 0 is not in the tree"),
        ("leaf_value=", "leaf_value=1 ", "leaf_value has 7 entries"),
        ("leaf_value=", "leaf_value=x", "leaf_value holds \"x"),
    ] {
        assert!(text.contains(from), "{from}");
        let found = match Model::parse(text.replacen(from, to, 1).as_bytes()) {
            Err(fault) => fault.to_string(),
            Ok(_) => "read".into(),
        };
        assert!(found.contains(said) && found.contains("; "), "{from} -> {to}: {found}");
    }
    let (head, tail) = text.split_at(text.find("Tree=5").unwrap());
    let end = &tail[tail.find("end of trees").unwrap()..];
    assert!(refusal(format!("{head}{end}").as_bytes()).contains("6 trees are announced, 5 are there"));
}

/// Would catch: a pickle or another library's file that is told as damaged, without what to do.
#[test]
fn other_kinds_of_files_are_named() {
    for (bytes, said) in [
        (&b""[..], "the file is empty"),
        (b"\x80\x04\x95", "a Python pickle; save it in the library's own format"),
        (b"{L\0\0\0\0\0\0\0\x01", "UBJSON; save it as JSON"),
        (b"binf\x00\x00\x00\x3f", "old binary format"),
        (b"CBM1xxxx", "CatBoost"),
        (b"{\"oblivious_trees\":[]}", "CatBoost"),
        (b"{\"name\":\"tree\",\"tree_info\":[]}", "JSON dump; save the text"),
        (b"{\"a\":1}", "neither `learner` (XGBoost) nor `coef`"),
        (b"{\"a\":", "begins like JSON and is not"),
        (b"hello", "no model file of a known kind; known are"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{\"a\":1}", "no model file of a known kind"),
    ] {
        let found = refusal(bytes);
        assert!(found.contains(said), "{found} instead of {said}");
    }
    let deep = [b"{\"learner\":".repeat(100_000), b"1".to_vec()].concat();
    assert!(refusal(&deep).contains("JSON"));
    let error = Model::load(&fixture("absent.json")).unwrap_err();
    assert!(matches!(&error, LoadError::Unread { .. }) && error.to_string().contains("absent.json"), "{error}");
}
