//! The thread on which a challenger is called. It has a runtime of its own, so that a challenger that blocks holds up nobody else; one that
//! never comes back keeps the thread, which ends with the process.

use crate::function::{CallError, Function, Input, Outcome};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Why a call of a challenger gave nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failed {
    /// One of several inputs does this: each may be tried alone.
    Together(String),
    Alone(String),
}

type Answered = Result<Vec<Outcome>, Failed>;
type Job = (Vec<Input>, oneshot::Sender<Answered>);

/// One call at a time.
pub struct Lane {
    jobs: mpsc::Sender<Job>,
}

impl Lane {
    pub fn start(pipeline: &str, function: Arc<dyn Function>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("shadow {pipeline}")).spawn(move || {
            while let Ok((inputs, reply)) = queue.recv() {
                // Who has gone needs no answer.
                reply.send(runtime.block_on(call(&*function, &inputs))).ok();
            }
        })?;
        Ok(Self { jobs })
    }

    /// The answer, when it comes. An error there says that the thread has ended.
    pub fn call(&self, inputs: Vec<Input>) -> oneshot::Receiver<Answered> {
        let (reply, answer) = oneshot::channel();
        // Without a thread the reply is dropped, which the receiver tells.
        self.jobs.send((inputs, reply)).ok();
        answer
    }
}

async fn call(function: &dyn Function, inputs: &[Input]) -> Answered {
    let several = inputs.len() > 1;
    let of_one = |cause: String| if several { Failed::Together(cause) } else { Failed::Alone(cause) };
    match AssertUnwindSafe(async { function.call(inputs).await }).catch_unwind().await {
        Err(_panic) => Err(of_one("it panicked".to_owned())),
        // Their causes may quote an event, and what is said here goes to the log and to `/status`.
        Ok(Err(CallError::Poison(_))) => Err(of_one("an event cannot be scored (poison)".to_owned())),
        Ok(Err(CallError::TooMuch(_))) => Err(of_one("an event is too much for it".to_owned())),
        Ok(Err(CallError::Transient(cause) | CallError::Fatal(cause))) => Err(Failed::Alone(cause)),
        Ok(Ok(outcomes)) if outcomes.len() != inputs.len() => {
            Err(Failed::Alone(format!("it gave {} outcomes for {} events", outcomes.len(), inputs.len())))
        }
        Ok(Ok(outcomes)) => Ok(outcomes),
    }
}
