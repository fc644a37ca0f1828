//! The pipelines of `deploy/samples/demo.toml` after some work: risk, sentiment, recommend, and a dead letter.

use super::files::{root, text};
use crate::process::Process;
use crate::support::{brokers, create_topic, database, produce, unique};
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// See the module.
pub struct Staged {
    pub url: String,
    prefix: String,
    worker: Process,
}

impl Staged {
    /// Runs a worker until it has decided and published everything; it goes on running.
    pub async fn run() -> Self {
        let (prefix, url) = (unique("boards"), database().await);
        let config = config(&prefix);
        for pipeline in config["pipeline"].as_array().unwrap() {
            for key in ["topic", "output_topic", "dead_letter_topic"] {
                if let Some(topic) = pipeline.get(key) {
                    create_topic(topic.as_str().unwrap(), 1).await;
                }
            }
        }
        let events = send(&prefix);
        let mut worker = Process::start(&config.to_string(), &[("DATABASE_URL", &url), ("NO_COLOR", "1")]);
        worker.finished(&url, events).await;
        Self { url, prefix, worker }
    }

    pub fn pipelines(&self) -> Vec<String> {
        ["risk", "sentiment", "recommend"].map(|name| format!("{}-{name}", self.prefix)).into()
    }

    /// Address of the admin server.
    pub fn address(&self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            let listens = log.lines().find(|line| line.contains("The admin server listens"));
            if let Some(address) =
                listens.and_then(|line| line.split("address=").nth(1)).and_then(|rest| rest.split_whitespace().next())
            {
                return address.to_owned();
            }
            assert!(Instant::now() < deadline, "no admin server; log:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        self.worker.log()
    }

    pub fn stop(&mut self) -> Option<i32> {
        self.worker.stop()
    }
}

/// The sample with names of its own, and a reason for every score.
fn config(prefix: &str) -> Table {
    let models = root().join("models");
    let sample = text("deploy/samples/demo.toml").replace("../../models", models.to_str().unwrap());
    let mut config: Table = sample.parse().unwrap();
    config["kafka"].as_table_mut().unwrap().insert("brokers".into(), brokers().into());
    config.insert("admin".into(), Value::Table([("listen".to_owned(), Value::from("127.0.0.1:0"))].into_iter().collect()));
    for pipeline in config["pipeline"].as_array_mut().unwrap() {
        let pipeline = pipeline.as_table_mut().unwrap();
        for key in ["name", "topic", "output_topic", "dead_letter_topic"] {
            if let Some(value) = pipeline.get_mut(key) {
                *value = format!("{prefix}-{}", value.as_str().unwrap()).into();
            }
        }
        if pipeline["function"].as_str() == Some("risk") {
            pipeline["options"].as_table_mut().unwrap().insert("explain".into(), "always".into());
        }
    }
    config
}

/// Sends some events of each kind, and returns their number.
fn send(prefix: &str) -> i64 {
    let now = jiff::Timestamp::now().to_string();
    let payment = |n: i32, amount: f64| {
        let (id, key) = (format!("t{n}"), format!("card-{}", n % 2));
        let body = format!(
            r#"{{"id":"{id}","kind":"payment","account":"{key}","terminal":"terminal-1","amount":{amount},"currency":"EUR","km":{n},"time":"{now}"}}"#
        );
        ("transactions", key, body)
    };
    let chat = |n: i32, said: &str| {
        ("chat", "c1".to_owned(), format!(r#"{{"id":"m{n}","conversation":"c1","text":"{said}","time":"{now}"}}"#))
    };
    let click = |n: i32, user: &str, rest: &str| {
        ("clicks", user.to_owned(), format!(r#"{{"id":"k{n}","user":"{user}",{rest},"time":"{now}"}}"#))
    };
    let events = [
        payment(1, 12.5),
        payment(2, 31.9),
        payment(3, 4_900.0),
        ("transactions", "card-1".to_owned(), "{".to_owned()),
        chat(1, "This is wonderful."),
        chat(2, "I have waited for two weeks and nobody answers."),
        click(1, "u1", r#""item":"a","kind":"rate""#),
        click(2, "u1", r#""item":"b","kind":"rate""#),
        click(3, "u2", r#""item":"a","kind":"rate""#),
        click(4, "u2", r#""kind":"request""#),
        click(5, "new", r#""kind":"request""#),
    ];
    for (topic, key, body) in &events {
        produce(&format!("{prefix}-{topic}"), 0, Some(key), body.as_bytes());
    }
    events.len() as i64
}
