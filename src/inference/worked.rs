//! Tokens that networks work on, counted for whoever asks: one that waits for an answer takes a [`Meter`] with it, and the model threads
//! count on it what goes through a network for that answer. What was kept, or computed for somebody else, is not counted.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

tokio::task_local! {
    static OF_TASK: Meter;
}

thread_local! {
    static OF_THREAD: RefCell<Meter> = RefCell::default();
}

/// A counter of tokens that may not be there; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Meter(Option<Arc<AtomicU64>>);

impl Meter {
    pub fn on(counter: Arc<AtomicU64>) -> Self {
        Self(Some(counter))
    }

    pub(super) fn add(&self, tokens: usize) {
        if let Some(counter) = &self.0 {
            counter.fetch_add(tokens as u64, Ordering::Relaxed);
        }
    }

    /// That of the running task; none outside of [`metered`].
    pub(super) fn of_task() -> Self {
        OF_TASK.try_with(Clone::clone).unwrap_or_default()
    }
}

/// Counts what is asked of models inside of `work`; what a task that it starts asks is not counted.
pub async fn metered<F: Future>(meter: Meter, work: F) -> F::Output {
    OF_TASK.scope(meter, work).await
}

/// Work of a model thread for somebody.
pub(super) fn within<T>(meter: &Meter, work: impl FnOnce() -> T) -> T {
    /// Puts back what was there, after a panic too.
    struct Back(Option<Meter>);
    impl Drop for Back {
        fn drop(&mut self) {
            OF_THREAD.set(self.0.take().unwrap_or_default());
        }
    }
    let _back = Back(Some(OF_THREAD.replace(meter.clone())));
    work()
}

/// Tokens that go through a network on this thread.
pub(super) fn add(tokens: usize) {
    OF_THREAD.with_borrow(|meter| meter.add(tokens));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::{Encoder, Head, Options, Results, Threads};
    use std::path::Path;

    /// Would catch: tokens of one who asks counted for another, equal or kept texts counted as work, a meter that outlives its work.
    #[tokio::test]
    async fn only_what_the_network_sees_is_counted() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/functions/one");
        let options = Options { threads: Threads::Exactly(2), results: Results::new(1 << 20), ..Options::default() };
        let encoder = Encoder::open("one", &folder, None, &options).unwrap();
        let texts = |text: &str| vec![text.to_owned(), text.to_owned()];
        let (mine, other) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ask = |text: &str| encoder.answer(Head::Classify, texts(text));
        let first = metered(Meter::on(mine.clone()), ask("good film")).await.unwrap();
        assert_eq!(mine.load(Ordering::Relaxed), first[0].tokens as u64, "equal texts go through the network once");
        metered(Meter::on(mine.clone()), ask("good film")).await.unwrap();
        assert_eq!(mine.load(Ordering::Relaxed), first[0].tokens as u64, "it was kept");
        let second = metered(Meter::on(other.clone()), ask("bad")).await.unwrap();
        ask("bad good bad").await.unwrap();
        assert_eq!(other.load(Ordering::Relaxed), second[0].tokens as u64);
        assert_eq!(mine.load(Ordering::Relaxed), first[0].tokens as u64);
    }
}
