//! The wrapper over functions of the test's own.

use super::*;
use crate::event::{Event, Position, RawEvent};
use crate::function::{Limits, Prediction};

/// Says which model it is, and takes a few events at once.
struct Named(Spec);

impl Function for Named {
    fn spec(&self) -> &Spec {
        &self.0
    }

    fn call<'a>(&'a self, slice: &'a [Input]) -> BoxFuture<'a, Result<Vec<Outcome>, CallError>> {
        assert!(slice.len() <= self.0.limits.slice, "{} events at once", slice.len());
        let fields = serde_json::Map::from_iter([("rung".to_owned(), "an event's own".into())]);
        let said = Prediction { key: None, fields, label: Some(self.0.model.as_str().into()), score: Some(0.5), model: None };
        Box::pin(async move { Ok(slice.iter().map(|_| Outcome::Emit(vec![said.clone()])).collect()) })
    }

    fn labels(&self) -> Vec<String> {
        vec![self.0.model.clone()]
    }
}

const NOW_MS: i64 = 1_800_000_000_000;

fn input(offset: i64, age_seconds: i64) -> Input {
    let position = Position { topic: "in".into(), partition: 0, offset };
    let raw = RawEvent { position, timestamp_ms: NOW_MS - age_seconds * 1_000, key: None, payload: None, headers: Vec::new() };
    // Its own time says nothing of how long it has waited.
    Input::plain(Event { raw, id: offset.to_string().into(), key: None, event_time_ms: 1, text: None, body: None })
}

fn ladder() -> Laddered {
    let text = "name = 'p'\ntopic = 'in'\nevent = 'transaction'\nfunction = 'copy'\nmodel = 'large'\n[ladder]\nevent_age_objective = '10s'\n\
                hold = '1s'\nrecover = '60s'\n[[ladder.rung]]\nname = 'small'\nmodel = 'tiny'\n[[ladder.rung]]\nskip = 'too_late'";
    let pipeline: Pipeline = toml::from_str(text).unwrap();
    let build = |of: &Pipeline| {
        let model = of.model.clone().unwrap();
        let limits = Limits { slice: if model == "tiny" { 3 } else { 100 }, calls_in_flight: 1, timeout: Duration::from_secs(9) };
        Ok(Arc::new(Named(Spec { name: "named", version: 1, model: format!("{model}@1"), limits })) as Arc<dyn Function>)
    };
    let ladder = pipeline.ladder.clone().unwrap();
    let mut laddered = Laddered::new(build(&pipeline).unwrap(), &pipeline, &ladder, build).unwrap();
    laddered.clock = || NOW_MS;
    laddered
}

impl Laddered {
    /// As if events had been too old for so long that it has come to a rung.
    fn go_down_to(&mut self, rung: usize) {
        let mut descent = Descent::new(self.terms);
        let mut second = 0;
        while descent.see(Duration::from_secs(second), Duration::from_secs(20)) < rung {
            second += 1;
        }
        self.descent = Mutex::new(descent);
        self.tally.stands_on(rung);
    }
}

/// Model, rung and reason of each outcome.
fn told(outcomes: &[Outcome]) -> Vec<String> {
    let one = |outcome: &Outcome| match outcome {
        Outcome::Emit(predictions) => {
            let prediction = &predictions[0];
            let rung = prediction.fields.get(FIELD).and_then(Value::as_str);
            format!(
                "{} {} {}",
                prediction.label.as_deref().unwrap(),
                rung.unwrap_or("-"),
                prediction.model.as_deref().unwrap_or("-")
            )
        }
        Outcome::Skip(reason) => (*reason).to_owned(),
        Outcome::Reject(rejection) => rejection.code.to_owned(),
    };
    outcomes.iter().map(one).collect()
}

/// Would catch: an answer that does not say which rung or which model it is of, one of the top that says so, an event's own field that is taken
/// for it, a rung that is given more than it takes, an event that is skipped although it is young or history, one that loses its place.
#[tokio::test]
async fn each_answer_says_its_rung_and_only_what_is_late_is_skipped() {
    let mut laddered = ladder();
    let young: Vec<Input> = (0..7).map(|n| input(n, 6)).collect();
    assert_eq!(told(&laddered.call(&young).await.unwrap()), vec!["large@1 - -"; 7]);
    assert_eq!(laddered.labels(), ["large@1", "tiny@1"]);
    laddered.go_down_to(1);
    assert_eq!(told(&laddered.call(&young).await.unwrap()), vec!["tiny@1 small tiny@1"; 7]);
    laddered.go_down_to(2);
    let mixed: Vec<Input> = [6, 30, 6, 40, 100_000].iter().enumerate().map(|(n, age)| input(n as i64, *age)).collect();
    let scored = "tiny@1 small tiny@1";
    assert_eq!(told(&laddered.call(&mixed).await.unwrap()), [scored, "too_late", scored, "too_late", scored]);
    let late: Vec<Input> = (0..2).map(|n| input(n, 30)).collect();
    assert_eq!(told(&laddered.call(&late).await.unwrap()), ["too_late"; 2]);
    let events: Vec<(&str, u64)> = laddered.tally.events().collect();
    assert_eq!(events, [("full", 7), ("small", 10), ("rung-2", 4)]);
    assert_eq!(laddered.tally.in_force(), (2, "rung-2"));
    assert!(laddered.call(&[]).await.unwrap().is_empty());
}

/// Would catch: events without a timestamp, or one with a strange one among others, that move the ladder.
#[tokio::test]
async fn odd_timestamps_move_nothing() {
    let laddered = ladder();
    let mut odd = input(0, 0);
    odd.event.raw.timestamp_ms = -1;
    let slice = [odd, input(1, 5), input(2, 3_000), input(3, 5), input(4, -50)];
    for _ in 0..5 {
        assert!(told(&laddered.call(&slice).await.unwrap()).iter().all(|said| said.starts_with("large")));
    }
    assert_eq!(laddered.tally.in_force(), (0, "full"));
}
