//! A file written by hand: one tree, `a < 1` -> -0.5, else `b < 2` -> 0.25 or 1.

use super::refusal;
use crate::scoring::Model;

fn file(base: &str, objective: &str, change: impl Fn(String) -> String) -> Vec<u8> {
    let text = format!(
        r#"{{"learner":{{"attributes":{{}},"feature_names":["a","b"],"feature_types":[],"gradient_booster":{{"model":{{
        "gbtree_model_param":{{"num_parallel_tree":"1","num_trees":"1"}},"tree_info":[0],"trees":[{{"base_weights":[0,0,0,0,0],
        "categories":[],"default_left":[1,0,0,0,0],"id":0,"left_children":[1,-1,3,-1,-1],"right_children":[2,-1,4,-1,-1],
        "split_conditions":[1.0,-0.5,2.0,0.25,1.0],"split_indices":[0,0,1,0,0],"split_type":[0,0,0,0,0],"sum_hessian":[8,4,4,1,3],
        "tree_param":{{"num_deleted":"0","num_feature":"2","num_nodes":"5","size_leaf_vector":"1"}}}}]}},"name":"gbtree"}},
        "learner_model_param":{{"base_score":{base},"num_class":"0","num_feature":"2"}},"objective":{{"name":"{objective}"}}}},"version":[2,0,0]}}"#
    );
    change(text).into_bytes()
}

fn same(text: String) -> String {
    text
}

/// Would catch: `<=` for `<`, a default that goes the wrong way, f64 features that fall on the other side of an f32 threshold.
#[test]
fn splits_go_left_below_the_threshold() {
    let model = Model::parse(&file(r#""5E-1""#, "binary:logistic", same)).unwrap();
    let margin = |row: &[f64]| model.score(row).unwrap().margin;
    let below = f64::from(1.0_f32.next_down());
    assert_eq!([margin(&[below, 0.0]), margin(&[1.0, 0.0]), margin(&[1.0, 2.0])], [-0.5, 0.25, 1.0]);
    // As f32 this is 1.
    assert_eq!(margin(&[1.0 - 1e-12, 0.0]), 0.25);
    assert_eq!([margin(&[f64::NAN, 0.0]), margin(&[1.0, f64::NAN])], [-0.5, 1.0]);
    assert!((model.score(&[0.0, 0.0]).unwrap().probability - 1.0 / (1.0 + 0.5_f64.exp())).abs() < 1e-15);
    // By hand: v() = -0.125/2 ... the mean of the leaves by cover; v(a), v(b), v(a,b) of the row (1, 2).
    let (none, a, b, both) = (0.15625, 0.8125, 0.25, 1.0);
    let found = model.contributions(&[1.0, 2.0]).unwrap();
    assert_eq!(found.bias, none);
    let by_hand = [((a - none) + (both - b)) / 2.0, ((b - none) + (both - a)) / 2.0];
    assert!(found.values.iter().zip(by_hand).all(|(found, by_hand)| (found - by_hand).abs() < 1e-12), "{found:?} {by_hand:?}");
}

/// Would catch: one of the two layouts of base_score, or a base score that is added as a probability.
#[test]
fn both_layouts_of_the_base_score_are_read() {
    for base in [r#""2E-1""#, r#""[2E-1]""#, "0.2"] {
        let model = Model::parse(&file(base, "binary:logistic", same)).unwrap();
        let margin = model.score(&[0.0, 0.0]).unwrap().margin;
        assert!((margin - (0.25_f64.ln() - 0.5)).abs() < 1e-6, "{base}: {margin}");
        let model = Model::parse(&file(base, "reg:squarederror", same)).unwrap();
        assert!((model.score(&[1.0, 0.0]).unwrap().margin - 0.45).abs() < 1e-6);
    }
    for base in [r#""0""#, r#""1""#, r#""-3""#, r#""[1E-1,2E-1]""#, r#""NaN""#, r#""x""#, "null"] {
        let said = refusal(&file(base, "binary:logistic", same));
        assert!(said.starts_with("base_score: "), "{base}: {said}");
    }
}

/// Would catch: an early stop that nobody is told of.
#[test]
fn an_early_stop_is_a_note() {
    let stopped = |text: String| text.replace(r#""attributes":{}"#, r#""attributes":{"best_iteration":"3"}"#);
    let rounds =
        |text: String| stopped(text).replace(r#""tree_info":[0],"#, r#""tree_info":[0],"iteration_indptr":[0,0,0,0,0,0,1],"#);
    assert!(Model::parse(&file(r#""5E-1""#, "binary:logistic", stopped)).unwrap().notes().is_empty());
    let model = Model::parse(&file(r#""5E-1""#, "binary:logistic", rounds)).unwrap();
    assert!(model.notes()[0].contains("round 3 of 6"), "{:?}", model.notes());
}

/// Would catch: a kind of model that is scored as if it were another, a damaged array that is indexed.
#[test]
fn what_is_not_known_or_damaged_is_refused() {
    for (from, to, said) in [
        ("binary:logistic", "multi:softprob", "objective: the objective is \"multi:softprob\""),
        ("binary:logistic", "binary:logitraw", "the objective is"),
        (r#""name":"gbtree""#, r#""name":"dart""#, "the booster is \"dart\""),
        (r#""name":"gbtree""#, r#""name":"gblinear""#, "the booster is \"gblinear\""),
        (r#""num_class":"0""#, r#""num_class":"3""#, "several outputs"),
        (r#""num_class":"0""#, r#""num_class":"0","num_target":"2""#, "several outputs"),
        (r#""size_leaf_vector":"1""#, r#""size_leaf_vector":"2""#, "several values"),
        ("\"split_type\":[0,0", "\"split_type\":[0,0,1", "split_type has 6 entries"),
        ("\"split_type\":[0,0,0", "\"split_type\":[0,0,1", "tree 0, node 2: it splits on categories; encode"),
        ("[\"a\",\"b\"]", "[\"a\"]", "1 feature names, num_feature is 2"),
        ("[\"a\",\"b\"]", "[\"a\",\"a\"]", "\"a\" stands there twice"),
        ("\"num_feature\":\"2\"},\"obj", "\"num_feature\":\"0\"},\"obj", "the model has 0 features"),
        ("\"num_nodes\":\"5\"", "\"num_nodes\":\"6\"", "num_nodes is 6, there are 5"),
        ("\"num_nodes\":\"5\"", "\"num_nodes\":\"-5\"", "is not a count"),
        ("[1,-1,3,-1,-1]", "[1,-1,0,-1,-1]", "reached on two ways or from itself"),
        ("[1,-1,3,-1,-1]", "[1,-1,99,-1,-1]", "node 99"),
        ("[1,-1,3,-1,-1]", "[-7,-1,3,-1,-1]", "its child is -7"),
        ("[0,0,1,0,0],\"split", "[0,0,4000000000,0,0],\"split", "feature 4000000000"),
        ("[1.0,-0.5,2.0", "[1.0,-0.5,1e60", "not a JSON model of XGBoost"),
        ("[1,0,0,0,0]", "[2,0,0,0,0]", "default_left"),
        ("\"sum_hessian\":[8,4", "\"sum_hessian\":[8", "sum_hessian has 4 entries"),
    ] {
        let said_of_it = match Model::parse(&file(r#""5E-1""#, "binary:logistic", |text| {
            assert!(text.contains(from), "{from}");
            text.replace(from, to)
        })) {
            Err(fault) => fault.to_string(),
            Ok(_) => "read".into(),
        };
        assert!(said_of_it.contains(said) && said_of_it.contains("; "), "{from} -> {to}: {said_of_it}");
    }
}

/// Would catch: contributions out of covers that are not there.
#[test]
fn without_covers_there_is_a_score_and_no_explanation() {
    let model = Model::parse(&file(r#""5E-1""#, "binary:logistic", |text| text.replace("[8,4,4,1,3]", "[0,0,0,0,0]"))).unwrap();
    assert_eq!(model.score(&[0.0, 0.0]).unwrap().margin, -0.5);
    assert!(model.contributions(&[0.0, 0.0]).is_none() && model.unexplained().unwrap().contains("tree 0"));
}
