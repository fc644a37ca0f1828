use super::*;
use crate::scoring::{DecisionSource, Policy, decide};

const TEXT: &str = r#"
version = "5"
base = -2.0

[[list]]
id = "blocked"
kind = "deny"
entity = "card"
values = ["4711", "4712"]

[[list]]
id = "staff"
kind = "allow"
entity = "customer"
values = ["c1"]

[[rule]]
id = "large"
version = 2
when = [{ feature = "amount", gt = 220.0 }]
weight = 1.5
outcome = "review"

[[rule]]
id = "large_at_night"
version = 1
when = [{ feature = "amount", ge = 500.0 }, { any = [{ feature = "night", eq = 1.0 }, { not = { feature = "age", missing = false } }] }]
outcome = "decline"

[[rule]]
id = "old"
version = 1
when = [{ feature = "age", between = [10.0, 20.0] }, { feature = "night", in = [0.0, 2.0] }]
weight = -0.5
"#;

fn names() -> Vec<String> {
    ["amount", "night", "age"].map(str::to_owned).to_vec()
}

fn rules() -> Rules {
    Rules::parse(TEXT, &names()).unwrap()
}

const NOBODY: [(&str, &str); 2] = [("card", "1"), ("customer", "c9")];

fn fired(row: [f64; 3]) -> Vec<(String, bool)> {
    rules().evaluate(&row, &NOBODY).rules.into_iter().map(|rule| (rule.id, rule.error.is_some())).collect()
}

/// Would catch: a comparison at its bound, a group that is joined the wrong way, an end of `between` left out.
#[test]
fn conditions_hold_as_written() {
    let said =
        |row| fired(row).into_iter().map(|(id, failed)| format!("{id}{}", if failed { "!" } else { "" })).collect::<Vec<_>>();
    assert_eq!(said([220.0, 0.0, 5.0]), [""; 0]);
    assert_eq!(said([220.5, 0.0, 5.0]), ["large"]);
    assert_eq!(said([500.0, 1.0, 5.0]), ["large", "large_at_night"]);
    assert_eq!(said([500.0, 0.0, 10.0]), ["large", "old"]);
    assert_eq!(said([1.0, 2.0, 20.0]), ["old"]);
    assert_eq!(said([1.0, 1.0, 15.0]), [""; 0]);
}

/// Would catch: a missing value that counts as false, or that spoils what does not depend on it.
#[test]
fn a_test_of_a_missing_value_has_failed() {
    let nan = f64::NAN;
    let said =
        |row| fired(row).into_iter().map(|(id, failed)| format!("{id}{}", if failed { "!" } else { "" })).collect::<Vec<_>>();
    // Both rules need the amount; `large_at_night` holds otherwise, `old` is out by the night.
    assert_eq!(said([nan, 1.0, 15.0]), ["large!", "large_at_night!"]);
    // Not at night: whatever the amount is, `any` is false.
    assert_eq!(said([nan, 0.0, 5.0]), ["large!"]);
    // The age is missing, which is one of the ways to be true; `old` depends on it.
    assert_eq!(said([600.0, 0.0, nan]), ["large", "large_at_night", "old!"]);
    assert_eq!(said([600.0, nan, nan]), ["large", "large_at_night", "old!"]);
    let verdict = rules().evaluate(&[nan, 1.0, 15.0], &NOBODY);
    assert!(verdict.failed() && verdict.outcome().is_none() && verdict.weight() == 0.0);
    assert_eq!(verdict.rules[0].error.as_deref(), Some("the feature \"amount\" has no value"));
    assert!(rules().evaluate(&[600.0], &NOBODY).rules.iter().any(|rule| rule.error.is_some()), "a short row is no panic");
}

/// Would catch: weights that are not added to the base, a mapping other than the documented one.
#[test]
fn alone_the_weights_are_log_odds() {
    let rules = rules();
    let score = |row: [f64; 3]| rules.score(&rules.evaluate(&row, &NOBODY));
    assert_eq!(score([1.0, 1.0, 1.0]), Scored { margin: -2.0, probability: logistic(-2.0) });
    assert_eq!(score([300.0, 0.0, 12.0]).margin, -2.0 + 1.5 - 0.5);
    let bare = Rules::parse("version = \"1\"", &names()).unwrap();
    assert_eq!(bare.score(&bare.evaluate(&[0.0; 3], &[])).margin, BASE);
}

/// Would catch: an allow list that overrules a deny list, a list that is asked about another kind of entity, an entity that is
/// not there and counts as not listed.
#[test]
fn lists_speak_by_entity() {
    let list = |entities: &[(&str, &str)]| rules().evaluate(&[1.0; 3], entities).list();
    assert_eq!(list(&[("card", "4711"), ("customer", "c1")]), Some(ListKind::Deny));
    assert_eq!(list(&[("card", "1"), ("customer", "c1")]), Some(ListKind::Allow));
    assert_eq!(list(&[("card", "c1"), ("customer", "4711")]), None);
    assert_eq!(list(&[("card", "1"), ("card", "4712"), ("customer", "c1")]), Some(ListKind::Deny));
    // The deny list could not be asked, so the allow list does not count.
    let verdict = rules().evaluate(&[1.0; 3], &[("customer", "c1")]);
    assert!(verdict.list().is_none() && verdict.failed());
    assert_eq!(verdict.lists[0].error.as_deref(), Some("the event names no \"card\""));
}

/// Would catch: a weaker outcome that wins, a source that is not the one that decided, a missing score that approves.
#[test]
fn the_strongest_outcome_decides() {
    let policy = Policy::parse("version = \"1\"\n[thresholds]\nreview = 500\ndecline = 900\n").unwrap();
    let by = |score, row: [f64; 3], entities: &[(&str, &str)]| {
        decide(&policy, score, DecisionSource::Model, &rules().evaluate(&row, entities))
    };
    let (quiet, large, worst) = ([1.0, 1.0, 1.0], [300.0, 0.0, 1.0], [600.0, 1.0, 1.0]);
    assert_eq!(by(Some(100), quiet, &NOBODY), (Decision::Approve, DecisionSource::Model));
    assert_eq!(by(Some(100), large, &NOBODY), (Decision::Review, DecisionSource::Rule));
    assert_eq!(by(Some(600), large, &NOBODY), (Decision::Review, DecisionSource::Model), "the rule said no more");
    assert_eq!(by(Some(950), large, &NOBODY), (Decision::Decline, DecisionSource::Model));
    assert_eq!(by(Some(100), worst, &NOBODY), (Decision::Decline, DecisionSource::Rule));
    assert_eq!(by(None, quiet, &NOBODY), (Decision::Review, DecisionSource::Fallback));
    assert_eq!(by(None, worst, &NOBODY), (Decision::Decline, DecisionSource::Rule));
    assert_eq!(by(Some(950), worst, &[("card", "1"), ("customer", "c1")]), (Decision::Approve, DecisionSource::List));
    assert_eq!(by(Some(0), quiet, &[("card", "4711"), ("customer", "c1")]), (Decision::Decline, DecisionSource::List));
}

/// Would catch: a rule that never fires because of a misspelling, or one that says nothing.
#[test]
fn rules_that_cannot_work_are_refused() {
    for (from, to, said) in [
        ("\"amount\", gt", "\"amont\", gt", "rule \"large\": there is no feature \"amont\", did you mean \"amount\""),
        ("gt = 220.0", "gt = 220.0, lt = 3.0", "not exactly one test"),
        ("{ feature = \"amount\", gt = 220.0 }", "{ feature = \"amount\" }", "not exactly one test"),
        ("{ feature = \"amount\", gt = 220.0 }", "{ gt = 220.0 }", "not exactly one test"),
        ("{ feature = \"amount\", gt = 220.0 }", "{}", "not exactly one test"),
        ("[{ feature = \"amount\", gt = 220.0 }]", "[]", "a list of conditions is empty"),
        ("gt = 220.0", "gt = nan", "compares with nan"),
        ("gt = 220.0", "above = 220.0", "unknown field"),
        ("[10.0, 20.0]", "[20.0, 10.0]", "bounds the wrong way round"),
        ("in = [0.0, 2.0]", "in = []", "an empty list"),
        ("weight = -0.5", "", "rule \"old\": it has neither a weight nor an outcome"),
        ("weight = -0.5", "weight = inf", "neither a weight"),
        ("id = \"old\"", "id = \"large\"", "the id \"large\" is empty or stands there twice"),
        ("id = \"staff\"", "id = \"blocked\"", "the id \"blocked\" is empty or stands there twice"),
        ("outcome = \"decline\"", "outcome = \"refuse\"", "unknown variant"),
        ("kind = \"deny\"", "kind = \"grey\"", "unknown variant"),
        ("entity = \"card\"", "entity = \"\"", "its entity is empty"),
        ("base = -2.0", "base = -inf", "base: it is -inf"),
        ("version = \"5\"", "version = \"\"", "the version is empty"),
    ] {
        assert!(TEXT.contains(from), "{from}");
        let found = match Rules::parse(&TEXT.replacen(from, to, 1), &names()) {
            Err(fault) => fault.to_string(),
            Ok(_) => "read".into(),
        };
        assert!(found.contains(said), "{from} -> {to}: {found}");
    }
}
