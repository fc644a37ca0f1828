//! Scores, decisions, reasons, status, shadow.

use super::*;
use crate::function::CallError;
use crate::scoring::Rules;

const RULES: &str = "version = \"1\"\nbase = -1.0\n\
    [[list]]\nid = \"blocked\"\nkind = \"deny\"\nentity = \"card.id\"\nvalues = [\"4711\"]\n\
    [[rule]]\nid = \"high\"\nversion = 3\nwhen = [{ feature = \"b\", gt = 10.0 }]\nweight = 2.0\noutcome = \"review\"\n";

fn rules() -> Option<Rules> {
    Some(Rules::parse(RULES, &NAMES.map(str::to_owned)).unwrap())
}

/// Would catch: a field that is missing or of another row, a label that is not the decision, timings where none are wanted.
#[test]
fn an_answer_is_score_decision_and_features() {
    let risk = risk(json!({}), scoring());
    assert_eq!(risk.spec().model.split('@').map(str::len).collect::<Vec<_>>(), [1, 12]);
    let prediction = emitted(&risk, input(json!({}), numbers([1.0, 2.0])));
    let probability = 1.0 / (1.0 + (-2.0_f64).exp());
    assert!((prediction.score.unwrap() - probability).abs() < 1e-12);
    assert_eq!((prediction.label.as_deref(), prediction.key), (Some("review"), None));
    let fields = &prediction.fields;
    assert!(fields["timings_us"]["score"].is_u64() && fields["timings_us"]["explain"].is_u64());
    assert_eq!(
        said(&risk, numbers([1.0, 2.0])),
        json!({
            "event_id": "7", "status": "ok", "margin": 2.0, "probability": prediction.score, "score": 881, "decision": "review",
            "decision_source": "model", "policy": "7", "features": {"a": 1.0, "b": 2.0},
            "reasons": [{"code": "OTHER", "feature": "a", "value": 1.0, "contribution": 3.0, "text": "Another feature of the model"}],
        })
    );
    let bare = self::risk(json!({"include_features": false, "timings": false}), scoring());
    let fields = emitted(&bare, input(json!({}), numbers([0.0, 0.0]))).fields;
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(names, ["decision", "decision_source", "event_id", "margin", "policy", "probability", "score", "status"]);
}

/// Would catch: a row that cannot be scored taken for one of probability 0 or approved; its error left out.
#[test]
fn a_row_that_cannot_be_scored_is_degraded_and_says_why() {
    let risk = risk(json!({"explain": "always"}), scoring());
    let found = emitted(&risk, input(json!({}), Features { late: true, ..numbers([1.0, f64::NAN]) }));
    assert_eq!((found.score, found.label.as_deref()), (None, Some("block_and_review")));
    let fields = Value::from(found.fields);
    assert_eq!((&fields["status"], &fields["decision_source"]), (&json!("degraded"), &json!("fallback")));
    assert!(fields["error"].as_str().unwrap().starts_with("b: feature 2 has no finite value"), "{fields}");
    assert_eq!(fields["features"], json!({"a": 1.0, "b": null}));
    for absent in ["probability", "margin", "score", "reasons"] {
        assert!(fields.get(absent).is_none(), "{absent}");
    }
}

/// Would catch: marks of the fold that get lost, or stand where they do not belong.
#[test]
fn what_the_fold_says_stands_in_the_answer() {
    let risk = risk(json!({}), scoring());
    let document = Some(json!({"folded": false}));
    let found = said(&risk, Features { late: true, truncated: true, document, ..numbers([0.0, 0.0]) });
    assert_eq!((&found["status"], &found["truncated"], &found["folded"]), (&json!("late"), &json!(true), &json!(false)));
    let found = said(&risk, numbers([0.0, 0.0]));
    assert!(found["status"] == "ok" && found.get("truncated").is_none() && found.get("folded").is_none(), "{found}");
}

/// Would catch: a shadow that decides, explains or sets the score; one that fails and takes the answer with it.
#[test]
fn a_shadow_is_recorded_and_decides_nothing() {
    let plain = risk(json!({}), scoring());
    let with = risk(json!({}), Loaded { shadow: Some(("s".into(), linear(90.0))), ..scoring() });
    let mut found = said(&with, numbers([-1.0, 0.0]));
    let shadow = found.as_object_mut().unwrap().remove("shadow").unwrap();
    assert_eq!(found, said(&plain, numbers([-1.0, 0.0])));
    assert_eq!((&shadow["decision"], &shadow["score"], &found["decision"]), (&json!("decline"), &json!(1000), &json!("approve")));
    assert!(shadow["model"].as_str().unwrap().starts_with("s@") && shadow["probability"].as_f64() > Some(0.99));
    let found = said(&with, numbers([f64::NAN, 0.0]));
    assert!(found["shadow"]["error"].is_string() && found["shadow"].get("probability").is_none(), "{found}");
}

/// Would catch: reasons that cost their time when nobody asked, or are missing when somebody did.
#[test]
fn reasons_come_when_they_are_asked_for() {
    let explained = |explain: &str, a: f64| {
        let risk = risk(json!({ "explain": explain, "top_reasons": 1 }), scoring());
        said(&risk, numbers([a, -6.0])).get("reasons").map(|reasons| reasons.as_array().unwrap().len())
    };
    assert_eq!(["review", "always", "never"].map(|explain| explained(explain, -2.0)), [None, Some(1), None]);
    assert_eq!(["review", "always", "never"].map(|explain| explained(explain, 2.0)), [Some(1), Some(1), None]);
}

/// Would catch: a rule that fired and is not told, a list that looks at another field, a rule's decision told as the model's.
#[test]
fn rules_and_lists_act_beside_a_model() {
    let risk = risk(json!({}), Loaded { rules: rules(), ..scoring() });
    let ask = |card: &str, b: f64| Value::from(emitted(&risk, input(json!({"card": {"id": card}}), numbers([0.0, b]))).fields);
    let found = ask("1", 11.0);
    assert_eq!((&found["decision"], &found["decision_source"]), (&json!("review"), &json!("rule")));
    assert_eq!(found["rules"], json!([{"id": "high", "version": 3, "outcome": "review", "weight": 2.0, "error": null}]));
    assert!(found["score"].as_u64() < Some(10) && found.get("lists").is_none() && found["reasons"].is_array(), "{found}");
    let found = ask("4711", 0.0);
    assert_eq!((&found["decision"], &found["decision_source"]), (&json!("decline"), &json!("list")));
    assert_eq!((&found["lists"][0]["id"], &found["rules"]), (&json!("blocked"), &json!([])));
    let found = Value::from(emitted(&risk, input(json!({"card": {}}), numbers([0.0, 0.0]))).fields);
    assert!(found["lists"][0]["error"].is_string(), "a list that could not be asked is told: {found}");
}

/// Would catch: rules alone that have no score, or whose score is called a model's.
#[test]
fn rules_score_alone() {
    let risk = risk(json!({}), Loaded { rules: rules(), policy: Some(policy()), ..Loaded::default() });
    assert!(risk.spec().model.starts_with("rules@") && risk.spec().model.len() == 18);
    let found = said(&risk, numbers([f64::NAN, 11.0]));
    assert_eq!((&found["margin"], &found["score"], &found["status"]), (&json!(1.0), &json!(731), &json!("ok")));
    assert_eq!((&found["decision"], &found["decision_source"]), (&json!("review"), &json!("rule")));
    let huge = RULES.replace("2.0", "1e308").replace("-1.0", "1e308");
    let rules = Some(Rules::parse(&huge, &NAMES.map(str::to_owned)).unwrap());
    let risk = self::risk(json!({}), Loaded { rules, policy: Some(policy()), ..Loaded::default() });
    let found = said(&risk, numbers([0.0, 11.0]));
    assert!(found["status"] == "degraded" && found["error"].is_string() && found.get("probability").is_none(), "{found}");
}

/// Would catch: a row of another fold scored all the same, an event without features that ends as its own fault.
#[test]
fn features_that_are_not_the_declared_ones_stop_the_pipeline() {
    let risk = risk(json!({}), scoring());
    let call = |input: Input| risk.call(&[input]).now_or_never().unwrap().unwrap_err();
    let none = call(Input::plain(event(&json!({}))));
    assert!(matches!(&none, CallError::Fatal(text) if text.contains("[risk]")), "{none}");
    let three = call(input(json!({}), Features { numbers: [0.0; 3].into(), ..Features::default() }));
    assert!(matches!(&three, CallError::Fatal(text) if text.contains("3 features, 2 are declared")), "{three}");
}

/// Would catch: an event that is not asked for and answered all the same, or refused for what only an answer needs; labels that `when`
/// keeps from the next stage.
#[test]
fn only_what_is_asked_for_is_answered() {
    let when = json!({"when": "kind == 'application'", "output_key": "card"});
    let scored = risk(when.clone(), scoring());
    let asked = emitted(&scored, input(json!({"kind": "application", "card": "c"}), numbers([0.0, 0.0])));
    assert_eq!((asked.key.as_deref(), asked.score), (Some("c"), Some(0.5)));
    for other in [json!({"kind": "statement"}), json!({}), json!({"kind": null, "card": "c"})] {
        assert!(matches!(outcome(&scored, input(other, numbers([0.0, 0.0]))), Outcome::Skip("filtered")));
    }
    let stage = risk(json!({"when": "kind == 'application'", "pass_event": true}), Loaded::default());
    let marked = Features { document: Some(json!({ "label": "marked" })), ..Features::default() };
    assert_eq!(emitted(&stage, input(json!({"kind": "label"}), marked)).fields["label"], "marked");
}
