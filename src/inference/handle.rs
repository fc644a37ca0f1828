//! The model threads: a synchronous [`Model`] inside, an asynchronous [`Handle`] outside.

use super::InferenceError;
use super::worked::{Meter, within};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A network with its scratch buffers, owned by one thread. It may block and it may panic.
pub trait Model {
    type Input: Send + 'static;
    type Output: Send + 'static;

    fn infer(&mut self, input: Self::Input) -> Result<Self::Output, InferenceError>;
}

/// How many threads run a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    #[default]
    OnePerCore,
    Exactly(usize),
}

impl Threads {
    pub fn count(self) -> usize {
        match self {
            Self::OnePerCore => std::thread::available_parallelism().map_or(1, usize::from),
            Self::Exactly(count) => count.max(1),
        }
    }
}

struct Job<M: Model> {
    input: M::Input,
    meter: Meter,
    reply: oneshot::Sender<Result<M::Output, InferenceError>>,
}

/// Sends work to the model threads through a bounded queue. When it is dropped, the threads finish what is queued and end.
pub struct Handle<M: Model> {
    queue: mpsc::Sender<Job<M>>,
    threads: usize,
}

impl<M: Model + 'static> Handle<M> {
    /// Starts the threads; each builds its own model, and builds a new one after a panic.
    pub fn start(
        name: &str,
        threads: Threads,
        queue: usize,
        build: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Self, InferenceError> {
        let (sender, receiver) = mpsc::channel(queue.max(1));
        let receiver = Arc::new(Mutex::new(receiver));
        let build = Arc::new(build);
        for index in 0..threads.count() {
            let (receiver, build) = (Arc::clone(&receiver), Arc::clone(&build));
            std::thread::Builder::new()
                .name(format!("{name}-{index}"))
                .spawn(move || work(&receiver, &*build))
                .map_err(|e| InferenceError::Closed(e.to_string()))?;
        }
        Ok(Self { queue: sender, threads: threads.count() })
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for a place in the queue, then for the answer.
    pub async fn infer(&self, input: M::Input) -> Result<M::Output, InferenceError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Job { input, meter: Meter::of_task(), reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// The same for callers outside a Tokio runtime, several inputs at once. Panics inside one.
    pub fn infer_blocking(&self, inputs: Vec<M::Input>) -> Result<Vec<M::Output>, InferenceError> {
        let mut answers = Vec::with_capacity(inputs.len());
        for input in inputs {
            let (reply, answer) = oneshot::channel();
            self.queue.blocking_send(Job { input, meter: Meter::default(), reply }).map_err(|_| gone())?;
            answers.push(answer);
        }
        answers.into_iter().map(|answer| answer.blocking_recv().map_err(|_| gone())?).collect()
    }
}

fn gone() -> InferenceError {
    InferenceError::Closed("they ended before they answered".to_owned())
}

fn work<M: Model>(jobs: &Mutex<mpsc::Receiver<Job<M>>>, build: &dyn Fn() -> M) {
    let mut model = build();
    // The lock is held while waiting: whoever has it takes the next job, the others stand in line behind it.
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
    while let Some(Job { input, meter, reply }) = next() {
        if reply.is_closed() {
            continue;
        }
        let result = catch_unwind(AssertUnwindSafe(|| within(&meter, || model.infer(input)))).unwrap_or_else(|_| {
            model = build();
            // The message may quote the text that was in work.
            Err(InferenceError::Poison("the model panicked".to_owned()))
        });
        // A caller that has gone away needs no answer.
        reply.send(result).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Doubler(#[expect(dead_code, reason = "only counted")] Arc<()>);

    impl Model for Doubler {
        type Input = u32;
        type Output = u32;

        fn infer(&mut self, input: u32) -> Result<u32, InferenceError> {
            assert_ne!(input, 13, "unlucky");
            Ok(input * 2)
        }
    }

    /// Would catch: a panic that ends its thread, a message that quotes the input.
    #[tokio::test]
    async fn a_panic_is_poison_and_the_thread_goes_on() {
        let shared = Arc::new(());
        let alive = Arc::clone(&shared);
        let handle = Handle::start("doubler", Threads::Exactly(2), 1, move || Doubler(Arc::clone(&alive))).unwrap();
        for _ in 0..4 {
            let error = handle.infer(13).await.unwrap_err();
            assert!(matches!(&error, InferenceError::Poison(m) if !m.contains("unlucky")), "{error}");
        }
        assert_eq!(handle.infer(4).await.unwrap(), 8);
        drop(handle);
        for _ in 0..500 {
            if Arc::strong_count(&shared) == 1 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the model threads did not end");
    }

    #[test]
    fn many_inputs_keep_their_order() {
        let handle = Handle::start("doubler", Threads::Exactly(3), 2, || Doubler(Arc::new(()))).unwrap();
        let doubled: Vec<u32> = (20..120).map(|i| i * 2).collect();
        assert_eq!(handle.infer_blocking((20..120).collect()).unwrap(), doubled);
    }
}
