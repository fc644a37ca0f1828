//! The loop of a model thread, and the queue that the threads of a generator share.

use super::engine::Engine;
use super::job::Job;
use super::lane::Lane;
use super::model::Causal;
use crate::inference::memory::{Lease, Resident};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Jobs in order of arrival, and how many texts each thread has in work.
pub(super) struct Queue {
    jobs: Mutex<mpsc::Receiver<Job>>,
    loads: Vec<AtomicUsize>,
}

impl Queue {
    pub(super) fn new(jobs: mpsc::Receiver<Job>, threads: usize) -> Self {
        Self { jobs: Mutex::new(jobs), loads: (0..threads).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// The next job for a thread without work; waits for it. `None` when the generator is gone.
    fn wait(&self) -> Option<Job> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
    }

    /// The next job for a thread that is at work, when there is one and no other thread has fewer texts. A thread that waits has the
    /// lock and takes what comes.
    fn look(&self, thread: usize) -> Option<Job> {
        let load = |load: &AtomicUsize| load.load(Ordering::Relaxed);
        if self.loads.iter().any(|other| load(other) < load(&self.loads[thread])) {
            return None;
        }
        self.jobs.try_lock().ok()?.try_recv().ok()
    }
}

/// A network in memory, with the caches of threads that have no work just now.
pub(super) struct Loaded {
    pub(super) model: Arc<Causal>,
    free: Mutex<Vec<Lane>>,
}

impl Loaded {
    pub(super) fn new(model: Causal) -> Self {
        Self { model: Arc::new(model), free: Mutex::default() }
    }
}

/// Runs jobs until the generator is gone and all of them are answered. A thread without work holds nothing of the network.
pub(super) fn work(queue: &Queue, thread: usize, resident: &Resident<Loaded>, lane: impl Fn(Arc<Causal>) -> Lane) {
    while let Some(job) = queue.wait() {
        let loaded = match resident.lease() {
            Ok(loaded) => loaded,
            Err(error) => {
                job.fail(error);
                continue;
            }
        };
        let kept = loaded.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut engine = Engine::new(kept.unwrap_or_else(|| lane(Arc::clone(&loaded.model))));
        write(queue, thread, &mut engine, job, &loaded);
        loaded.free.lock().unwrap_or_else(PoisonError::into_inner).push(engine.into_lane());
    }
}

/// One job and those that come while it is in work; none more when others wait for the network's memory.
fn write(queue: &Queue, thread: usize, engine: &mut Engine, job: Job, loaded: &Lease<Loaded>) {
    let mut waiting = Some(job);
    loop {
        // In order of arrival: while one waits for blocks, none behind it is taken.
        loop {
            let job = match waiting.take() {
                Some(job) => job,
                None if loaded.is_wanted() => break,
                None => match queue.look(thread) {
                    Some(job) => job,
                    None => break,
                },
            };
            let before = engine.running();
            waiting = engine.admit(job).err();
            queue.loads[thread].store(engine.running(), Ordering::Relaxed);
            // What is answered at once takes time too: those in work have a turn before the next.
            let at_once = before > 0 && engine.running() == before;
            if waiting.is_some() || at_once {
                break;
            }
        }
        if engine.running() == 0 && waiting.is_none() {
            return;
        }
        engine.turn();
        queue.loads[thread].store(engine.running(), Ordering::Relaxed);
    }
}
