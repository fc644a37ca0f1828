//! Waits for a future on this thread. Tokio's own ways panic inside a runtime, or outside one; the futures here need none, for the
//! model threads wake them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub fn on<F: Future>(future: F) -> F::Output {
    // Inside a Tokio task channels would refuse to answer once the task's share of work is used up, and nobody would refill it here.
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // A wake that came before is remembered, so none is lost.
            Poll::Pending => std::thread::park(),
        }
    }
}
