//! Kafka and Postgres, asked now and then, so that an idle worker too knows when one of them is away.

use super::hindrance::PATIENCE;
use crate::admin::Readiness;
use crate::pipeline::Settings;
use crate::publisher::{PublishError, Publisher};
use crate::store::Store;
use crate::telemetry::Metrics;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Names in texts and in metrics.
const KAFKA: (&str, &str) = ("Kafka", "kafka");
const POSTGRES: (&str, &str) = ("Postgres", "postgres");
const PERIOD: Duration = Duration::from_secs(2);
/// An answer that takes longer will not come any more, as on a connection that was dropped without a word: then another is asked for.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Asks Kafka for the output topic. That one answers says whether Kafka is there: a partition without a leader is no outage of it.
pub async fn follow_kafka(settings: Arc<Settings>, publisher: Arc<dyn Publisher>, told: Told, closing: CancellationToken) {
    let ask = || {
        let (topic, publisher) = (settings.output_topic.to_string(), publisher.clone());
        async move {
            let answer = match publisher.partition_count(&topic).await {
                Ok(_) => Answer::Well,
                Err(PublishError::Fatal(detail)) => Answer::Amiss(detail),
                Err(error) => return Err(error.to_string()),
            };
            publisher.tidy().await;
            Ok(answer)
        }
        .boxed()
    };
    told.of(KAFKA, &settings).follow(ask, &closing).await;
}

/// Asks Postgres for a pipeline's run.
pub async fn follow_postgres(settings: Arc<Settings>, store: Arc<dyn Store>, told: Told, closing: CancellationToken) {
    let ask = || {
        let (settings, store) = (settings.clone(), store.clone());
        async move { store.current_run(&settings.provenance.pipeline).await.map(|_| Answer::Well).map_err(|error| error.to_string()) }.boxed()
    };
    told.of(POSTGRES, &settings).follow(ask, &closing).await;
}

/// Who is told whether a neighbour answers.
#[derive(Clone)]
pub struct Told {
    pub readiness: Arc<Readiness>,
    pub metrics: Arc<Metrics>,
}

/// What a neighbour said that is there.
enum Answer {
    Well,
    /// What it was asked for is not there, or not to be seen.
    Amiss(String),
}

/// Kafka or Postgres, as one pipeline meets it.
struct Neighbour {
    name: &'static str,
    /// Its name in metrics.
    label: &'static str,
    pipeline: Arc<str>,
    told: Told,
}

impl Told {
    fn of(self, (name, label): (&'static str, &'static str), settings: &Settings) -> Neighbour {
        Neighbour { name, label, pipeline: settings.provenance.pipeline.clone(), told: self }
    }
}

impl Neighbour {
    fn hindrance(&self) -> String {
        format!("{} for {}", self.name, self.pipeline)
    }

    fn is_away(&self, detail: &str) {
        self.told.readiness.block(&self.hindrance(), detail);
        self.told.metrics.neighbour_up(&self.pipeline, self.label, false);
    }

    fn answers(&self, answer: Answer) {
        match answer {
            Answer::Well => self.told.readiness.clear(&self.hindrance()),
            Answer::Amiss(detail) => self.told.readiness.block(&self.hindrance(), &detail),
        }
        self.told.metrics.neighbour_up(&self.pipeline, self.label, true);
    }

    /// Asks for ever. Blocks readiness while the answers fail, or do not come, for longer than a worker has patience.
    async fn follow(&self, ask: impl Fn() -> BoxFuture<'static, Result<Answer, String>>, closing: &CancellationToken) {
        let mut failing: Option<Instant> = None;
        let watch = async {
            loop {
                let asked = Instant::now();
                let mut answer = ask();
                let answer = match tokio::time::timeout(PATIENCE, &mut answer).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        self.is_away("does not answer");
                        let late = tokio::time::timeout(GIVE_UP, answer).await;
                        late.unwrap_or_else(|_| Err("does not answer".to_owned()))
                    }
                };
                match answer {
                    Ok(answer) => {
                        failing = None;
                        self.answers(answer);
                    }
                    Err(detail) => {
                        if failing.get_or_insert(asked).elapsed() > PATIENCE {
                            self.is_away(&detail);
                        }
                    }
                }
                tokio::time::sleep(PERIOD).await;
            }
        };
        tokio::select! { () = closing.cancelled() => {}, () = watch => {} }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn neighbour((name, label): (&'static str, &'static str)) -> Neighbour {
        let told = Told { readiness: Arc::new(Readiness::new([])), metrics: Arc::new(Metrics::new().unwrap()) };
        Neighbour { name, label, pipeline: "p".into(), told }
    }

    fn up(neighbour: &str, value: u8) -> String {
        format!("millrace_neighbour_up{{neighbour=\"{neighbour}\",pipeline=\"p\"}} {value}\n")
    }

    /// Would catch: a neighbour that never answers and blocks nothing, a block that stays when it is back.
    #[tokio::test(start_paused = true)]
    async fn a_neighbour_that_is_away_blocks_until_it_is_back() {
        let (kafka, closing, back) = (neighbour(KAFKA), CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        let told = kafka.told.clone();
        let task = tokio::spawn({
            let (closing, back) = (closing.clone(), back.clone());
            async move {
                let ask = || {
                    let back = back.clone();
                    async move {
                        if !back.load(Ordering::Relaxed) {
                            tokio::time::sleep(Duration::from_secs(15)).await;
                            return Err("timed out".to_owned());
                        }
                        Ok(Answer::Well)
                    }
                    .boxed()
                };
                kafka.follow(ask, &closing).await;
            }
        });
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(told.readiness.missing(), ["Kafka for p: does not answer"]);
        assert!(told.metrics.render().unwrap().contains(&up("kafka", 0)));
        back.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert!(told.readiness.missing().is_empty(), "{:?}", told.readiness.missing());
        assert!(told.metrics.render().unwrap().contains(&up("kafka", 1)));
        closing.cancel();
        task.await.unwrap();
    }

    /// Would catch: an answer that never comes and is waited for without end, though the next one would come.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_lost_is_asked_for_again() {
        let (postgres, closing, asked) = (neighbour(POSTGRES), CancellationToken::new(), AtomicBool::new(false));
        let readiness = &postgres.told.readiness;
        let ask = || match asked.swap(true, Ordering::Relaxed) {
            false => std::future::pending().boxed(),
            true => std::future::ready(Ok(Answer::Well)).boxed(),
        };
        let look = async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert_eq!(readiness.missing(), ["Postgres for p: does not answer"]);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(readiness.missing().is_empty(), "{:?}", readiness.missing());
            closing.cancel();
        };
        tokio::join!(postgres.follow(ask, &closing), look);
    }
}
