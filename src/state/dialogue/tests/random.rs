//! Conversations out of chance, held against one that keeps all, and bytes that are none.

use super::*;
use proptest::prelude::*;

/// A message: its id, minute, and whether the desk wrote it.
type Said3 = (u8, i64, bool);

fn payload(n: u8, agent: bool) -> Value {
    json!({ "text": format!("text {n}"), "role": if agent { "agent" } else { "user" } })
}

/// What a conversation with room for all is told of a message, by going over the log so far: of each id the first, by time.
fn naive(log: &[Said3], gap: i64) -> (u64, i64) {
    let mut session: Vec<(i64, usize, Said3)> = Vec::new();
    for (place, one) in log.iter().enumerate() {
        let newest = session.iter().map(|(minute, ..)| *minute).max();
        let oldest = session.iter().map(|(minute, ..)| *minute).min();
        if newest.is_some_and(|newest| one.1 - newest > gap) {
            session.clear();
        } else if oldest.is_some_and(|oldest| oldest - one.1 > gap) || session.iter().any(|(.., known)| known.0 == one.0) {
            continue;
        }
        session.push((one.1, place, *one));
    }
    session.sort_unstable();
    let last = log[log.len() - 1];
    let Some(own) = session.iter().position(|(.., known)| known.0 == last.0) else { return (0, 0) };
    let before = &session[..own];
    let customers = before.iter().filter(|(.., (.., agent))| !agent).count() as u64;
    let since = before.iter().rev().take_while(|(.., (.., agent))| !agent).map(|(minute, ..)| *minute).last();
    (customers + 1, since.map_or(0, |since| (last.1 - since).max(0)))
}

proptest! {
    /// Would catch: a sum of what was cut that differs from what was cut, a state that comes back otherwise, two spellings of one state.
    #[test]
    fn what_is_told_is_what_the_log_says(
        log in prop::collection::vec((0u8..40, 0i64..60, prop::bool::ANY), 1..60),
        restart in 0usize..60,
    ) {
        let settings = "gap = '9m'\nmessages = 1000";
        let (fold, mut state) = (fold(settings), Session::default());
        for (place, (n, minute, agent)) in log.iter().enumerate() {
            if place == restart {
                let stored = encoded(&state);
                state = Session::decode(&stored).unwrap();
                prop_assert_eq!(encoded(&state), stored);
            }
            let event = message(&n.to_string(), "c", *minute, &payload(*n, *agent));
            let facts = fold.read(&event).unwrap();
            let at = At { time_ms: event.event_time_ms, offset: place as i64 };
            fold.fold(0, &mut state, &facts, at);
            let features = fold.features(&[&state], &facts, at);
            if !agent {
                let (turn, waiting) = naive(&log[..=place], 9);
                match folded(&features) {
                    true => prop_assert_eq!((told(&features).0, told(&features).1), (turn, waiting)),
                    false => prop_assert_eq!((turn, waiting), (0, 0)),
                }
            }
        }
    }

    /// Would catch: a small state whose turns, waiting or answers are not those of one with room for all, where messages come in order.
    #[test]
    fn a_small_state_tells_the_same(
        log in prop::collection::vec((0i64..12, prop::bool::ANY, 0u8..4), 1..60),
        messages in 1usize..5,
    ) {
        let (mut small, mut large) = (Log::of(&format!("gap = '9m'\nmessages = {messages}")), Log::of("gap = '9m'\nmessages = 1000"));
        let (mut minutes, mut session) = (0, Vec::new());
        for (place, (after, agent, n)) in log.iter().enumerate() {
            minutes += after;
            let of = |log: &mut Log| log.add(&place.to_string(), minutes, payload(*n, *agent)).unwrap();
            let (one, other) = (of(&mut small), of(&mut large));
            if !agent {
                let (a, b) = (told(&one), told(&other));
                prop_assert_eq!((a.0, a.1), (b.0, b.1));
                prop_assert!(b.2.ends_with(&a.2));
                prop_assert_eq!(&one.document.as_ref().unwrap()["sent"], &other.document.as_ref().unwrap()["sent"]);
            }
            // Whatever of the session comes again changes nothing.
            if *after > 9 {
                session.clear();
            }
            session.push((place, minutes, *n, *agent));
            let before = small.bytes();
            for (place, minutes, n, agent) in &session {
                small.add(&place.to_string(), *minutes, payload(*n, *agent)).unwrap();
                prop_assert_eq!(&small.bytes(), &before);
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let layout = [&[2][..], &bytes].concat();
        for bytes in [&bytes, &layout] {
            if let Ok(state) = Session::decode(bytes) {
                let again = encoded(&state);
                prop_assert_eq!(Session::decode(&again), Ok(state));
            }
        }
    }
}
