mod random;

use super::session::{Limits, Message, Said};
use super::*;
use crate::config::Config;
use crate::event::{Position, RawEvent};
use crate::state::Stored;
use crate::state::in_memory::InMemory;
use serde_json::json;
use std::collections::BTreeMap;

pub const MINUTE: i64 = 60_000;
const START_MS: i64 = 1_700_000_000_000;

/// The fold of a pipeline with these lines under `[dialogue]`.
pub fn fold(dialogue: &str) -> DialogueFold {
    let config = Config::parse(&format!("[dialogue]\n{dialogue}"), "test.toml", &BTreeMap::new()).unwrap();
    assert_eq!(config.findings(), [""; 0]);
    DialogueFold::new(&config.dialogue.unwrap(), EventKind::ChatMessage, &Fields::default())
}

/// A message of a conversation, so many minutes from the beginning.
pub fn message(id: &str, conversation: &str, minutes: i64, payload: &Value) -> Event {
    let position = Position { topic: "t".into(), partition: 0, offset: 0 };
    let time_ms = START_MS + minutes * MINUTE;
    let bytes = Some(payload.to_string().into_bytes().into());
    let raw = RawEvent { position, timestamp_ms: time_ms, key: None, payload: bytes, headers: vec![] };
    let text = payload["text"].as_str().map(Into::into);
    Event { body: None, raw, id: id.into(), key: Some(conversation.into()), event_time_ms: time_ms, text }
}

struct Log(InMemory<DialogueFold>);

impl Log {
    fn of(dialogue: &str) -> Self {
        Self(InMemory::new(fold(dialogue)))
    }

    fn add(&mut self, id: &str, minutes: i64, payload: Value) -> Result<Features, Rejection> {
        self.0.apply(&message(id, "c", minutes, &payload))
    }

    fn says(&mut self, id: &str, minutes: i64, text: &str) -> Features {
        self.add(id, minutes, json!({ "text": text })).unwrap()
    }

    fn answers(&mut self, id: &str, minutes: i64, text: &str) -> Features {
        self.add(id, minutes, json!({ "text": text, "role": "agent" })).unwrap()
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        self.0.all().iter().map(|(_, state)| encoded(state)).collect()
    }
}

fn encoded(state: &Session) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

/// Turn, minutes of waiting, and the texts before it.
fn told(features: &Features) -> (u64, i64, Vec<&str>) {
    let told = features.document.as_ref().unwrap();
    let earlier = told["earlier"].as_array().unwrap_or_else(|| panic!("{told}"));
    (
        told["turn"].as_u64().unwrap(),
        told["waiting_ms"].as_i64().unwrap() / MINUTE,
        earlier.iter().map(|text| text.as_str().unwrap()).collect(),
    )
}

fn folded(features: &Features) -> bool {
    features.document.as_ref().unwrap().get("folded").is_none()
}

/// Would catch: a turn that counts the desk, waiting that goes on after an answer, a session that never ends.
#[test]
fn a_conversation_has_turns_waiting_and_sessions() {
    let mut log = Log::of("gap = '1h'");
    assert_eq!(told(&log.says("a", 0, "hello")), (1, 0, vec![]));
    assert_eq!(told(&log.says("b", 3, " where is it? ")), (2, 3, vec!["hello"]));
    let answer = log.answers("c", 5, "We  LOOK.");
    assert_eq!(answer.document, Some(json!({ "role": "agent" })));
    let thanks = log.says("d", 9, "thanks");
    assert_eq!(told(&thanks), (3, 0, vec!["hello", "where is it?"]));
    assert_eq!(thanks.document.unwrap()["sent"], json!([likeness("we look.")]));
    assert_eq!(told(&log.says("e", 69, "still there?")), (4, 60, vec!["hello", "where is it?", "thanks"]));
    let again = log.says("f", 130, "another thing");
    assert_eq!((told(&again), again.late), ((1, 0, vec![]), false));
    assert_eq!(again.document.unwrap()["sent"], json!([]));
}

/// Would catch: a reply that was sent in other words and is not known, a name that is no name and refuses the message.
#[test]
fn the_desk_may_name_the_reply_that_it_sends() {
    let mut log = Log::of("source = 'reply.id'");
    let sends = |log: &mut Log, n: i64, id: Value| {
        let payload = json!({ "text": format!("text {n}"), "role": "agent", "reply": { "id": id } });
        log.add(&format!("r{n}"), n, payload).unwrap();
    };
    for (n, id) in (0..).zip([json!("parcel"), json!(7), json!(""), json!(null), json!(["x"]), json!("parcel")]) {
        sends(&mut log, n, id);
    }
    let text = |n: i64| likeness(&format!("text {n}"));
    let sent = log.says("a", 9, "and?").document.unwrap()["sent"].clone();
    assert_eq!(sent, json!([text(0), text(1), mark("7"), text(2), text(3), text(4), text(5), mark("parcel")]));
    assert!(mark("parcel") != likeness("parcel") && mark("a b") != likeness("\na b"));
}

/// Would catch: a message that counts twice because it was sent twice, also after it went for want of room.
#[test]
fn a_message_that_comes_again_is_there_once() {
    let mut log = Log::of("messages = 3");
    for n in 0..9 {
        log.says(&n.to_string(), n, "x");
    }
    let before = log.bytes();
    let again = log.says("7", 7, "x");
    assert!(again.late && told(&again).0 == 8, "{again:?}");
    let long_gone = log.says("2", 2, "x");
    assert!(long_gone.late && !folded(&long_gone), "{long_gone:?}");
    assert_eq!(log.bytes(), before);
    assert_eq!(told(&log.says("9", 9, "x")), (10, 9, vec!["x", "x"]));
}

/// Would catch: a late message that is put at the end, one that is told of what came after it, one of an earlier session that is mixed in.
#[test]
fn late_messages_are_put_in_their_place() {
    let mut log = Log::of("gap = '1h'");
    log.says("old", -100, "earlier session");
    log.says("a", 0, "first");
    log.says("c", 20, "third");
    let late = log.says("b", 10, "second");
    assert!(late.late && told(&late) == (2, 10, vec!["first"]), "{late:?}");
    log.answers("r", 5, "an answer that came late");
    assert_eq!(told(&log.says("d", 30, "fourth")), (4, 20, vec!["first", "second", "third"]));
    let before = log.bytes();
    let too_old = log.says("x", -61, "of another session");
    assert!(too_old.late && !folded(&too_old), "{too_old:?}");
    assert_eq!(log.bytes(), before);
    assert!(folded(&log.says("y", -60, "just before")));
}

/// Would catch: messages with one time, or without any, that are lost once there is no more room.
#[test]
fn equal_times_go_by_the_order_of_the_log() {
    let mut log = Log::of("messages = 2");
    for n in 1..=7 {
        assert_eq!(told(&log.says(&n.to_string(), 0, &n.to_string())).0, n);
    }
    assert_eq!(told(&log.says("8", 0, "8")).2, ["7"]);
}

/// Would catch: a message of the time of the last that went, which counts twice when it comes again, or not at all when it comes late.
#[test]
fn of_the_time_of_the_last_that_went_each_counts_once() {
    let mut log = Log::of("messages = 2");
    for n in 1..=7 {
        log.says(&n.to_string(), 0, "x");
    }
    let before = log.bytes();
    for n in 1..=7 {
        let again = log.says(&n.to_string(), 0, "x");
        assert_eq!(folded(&again), n > 5, "{again:?}");
        assert_eq!(log.bytes(), before, "{n}");
    }
    // The same while later ones are kept.
    log.says("8", 1, "x");
    log.says("9", 2, "x");
    let before = log.bytes();
    for n in 1..=9 {
        log.says(&n.to_string(), [0, 1, 2][(n as usize).saturating_sub(7)], "x");
        assert_eq!(log.bytes(), before, "{n}");
    }
    // One that has not been there, though late.
    log.answers("new", 0, "an answer");
    assert_ne!(log.bytes(), before);
    assert_eq!(told(&log.says("10", 3, "x")), (10, 2, vec!["x"]));
    // However many have one time, the state is bounded.
    for n in 0..5_000 {
        log.says(&format!("many {n}"), 4, "x");
    }
    assert!(log.bytes()[0].len() < 1_500, "{}", log.bytes()[0].len());
}

/// Would catch: caps that are not kept, a cut in the middle of a letter, turns and answers that are forgotten with what was cut.
#[test]
fn a_session_is_bounded() {
    let mut log = Log::of("messages = 20\nbytes = 64");
    log.answers("r", 0, "Welcome!");
    log.says("long", 1, &"é".repeat(5_000));
    let next = log.says("n", 2, "y");
    let (turn, waiting, earlier) = told(&next);
    assert!((turn, waiting) == (2, 1) && earlier.is_empty() && next.truncated, "{next:?}");
    assert_eq!(next.document.unwrap()["sent"], json!([likeness("welcome!")]));
    log.says("long2", 3, &"é".repeat(5_000));
    assert_eq!(log.0.all()[0].1.seen(0, 0), None);
    for n in 0..5_000 {
        log.answers(&format!("a{n}"), 4 + n / 60, &format!("answer {n}"));
        log.says(&format!("m{n}"), 4 + n / 60, &format!("message {n}"));
    }
    let (_, state) = log.0.all()[0];
    assert!(state.cost_bytes() < 6_000 && encoded(state).len() < 3_000, "{} {}", state.cost_bytes(), encoded(state).len());
    let last = log.says("last", 200, "z");
    assert_eq!(told(&last).0, 5_004);
    let sent = &last.document.unwrap()["sent"];
    assert!(sent.as_array().unwrap().len() >= 100 && sent.to_string().contains(&likeness("answer 4999").to_string()));
}

/// Would catch: a desk that is taken for a customer, a message of nobody that is answered, a rejection that leaves half of it behind.
#[test]
fn who_wrote_is_read_and_the_rest_refused() {
    let mut log = Log::of("role = 'from.kind'\nagents = ['desk']\nignored = ['bot']");
    log.says("a", 0, "hello");
    let before = log.bytes();
    let note = log.add("n", 1, json!({ "text": "note", "from": { "kind": "bot" } })).unwrap();
    assert_eq!(note.document, Some(json!({ "role": "ignored" })));
    for (from, code) in [
        (json!({ "kind": "agent" }), "unknown_role"),
        (json!({ "kind": "" }), "unknown_role"),
        (json!({ "kind": 7 }), "wrong_type"),
        (json!({ "kind": ["desk"] }), "wrong_type"),
    ] {
        let refused = log.add("x", 1, json!({ "text": "x", "from": from })).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (code, Some("from.kind")), "{from}");
    }
    let no_text = log.add("x", 1, json!({ "from": { "kind": "desk" } })).unwrap_err();
    assert_eq!((no_text.code, no_text.field.as_deref()), ("missing_field", Some("text")));
    for (conversation, code) in [("", "empty_name"), (&*"é".repeat(257), "string_too_long")] {
        let refused = log.0.apply(&message("x", conversation, 1, &json!({ "text": "x" }))).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (code, Some("conversation")));
    }
    let mut ahead = message("x", "c", 1, &json!({ "text": "x" }));
    ahead.event_time_ms += 2 * 1_440 * MINUTE;
    assert_eq!(log.0.apply(&ahead).unwrap_err().code, "time_ahead");
    ahead.event_time_ms = -2;
    assert_eq!(log.0.apply(&ahead).unwrap_err().code, "time_out_of_range");
    assert_eq!(log.bytes(), before);
    for customer in [json!(null), json!({ "kind": null }), json!({ "kind": "user" }), json!("no object")] {
        assert!(
            log.add(&customer.to_string(), 1, json!({ "text": "x", "from": customer })).unwrap().document.unwrap()["turn"]
                .is_u64()
        );
    }
}

/// Would catch: states that go on under settings or a decoding that would have made others.
#[test]
fn the_digest_tells_settings_and_decoding() {
    let plain = fold("");
    let fields = Fields { text: Some("a".into()), ..Fields::default() };
    let decoded = DialogueFold::new(&Dialogue::default(), EventKind::Json, &fields);
    assert_eq!(plain.digest(), fold("messages = 20").digest());
    assert!(plain.digest() != fold("gap = '2h'").digest() && plain.digest() != decoded.digest());
}

/// Would catch: texts of many messages that wait in memory behind each event, an end that is cut in the middle of a letter.
#[test]
fn what_is_told_of_earlier_texts_is_bounded() {
    let mut log = Log::of("bytes = 65536\nmessages = 1000");
    for n in 0..5 {
        log.says(&n.to_string(), n, &format!("{n}{}", "é".repeat(449)));
    }
    let last = log.says("last", 6, "x");
    let (turn, _, earlier) = told(&last);
    assert_eq!((turn, earlier.iter().map(|text| text.len()).collect::<Vec<_>>()), (6, vec![138, 899, 899]));
    assert!(earlier[0].chars().all(|letter| letter == 'é') && earlier[1].starts_with('3'), "{earlier:?}");
}

/// Would catch: a damaged state that is taken for one, or that panics.
#[test]
fn damaged_states_are_refused() {
    let mut log = Log::of("messages = 2");
    log.answers("r", 0, "Welcome!");
    for id in ["a", "b", "c"] {
        log.says(id, 1, "text");
    }
    let good = log.bytes().remove(0);
    for end in 1..good.len() {
        assert!(Session::decode(&good[..end]).is_err(), "{end}");
    }
    assert!(Session::decode(&[&good[..], &[0]].concat()).is_err() && Session::decode(&[3]).is_err());
    assert!(Session::decode(&[2, 0, 0, 0, 0, 0, 0]).is_err(), "no message");
    for place in 0..good.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bad = good.clone();
            bad[place] = byte;
            if let Ok(mut state) = Session::decode(&bad) {
                let limits = Limits { messages: 2, bytes: 9, gap_ms: 1 };
                state.take(Message { time_ms: i64::MAX / 2, id: 1, said: Said::Agent { likeness: 1, mark: None } }, &limits);
                state.seen(1, 0);
            }
        }
    }
}
