//! A bound for a call of librdkafka that may forget its own.
//!
//! `send_offsets_to_transaction` waits for the group's coordinator without an end when that broker goes while the call is under way
//! (librdkafka issues 5456 and 5511, seen with 2.12.1 where a broker was gone for two seconds).

use crate::publisher::PublishError;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// What `call` returns, if it does so within `limit`; else its outcome is not known. It then goes on in its thread, with all that it
/// owns, until it returns or the process ends.
pub fn bounded<T: Send + 'static>(
    what: &str,
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PublishError> {
    let (answer, answered) = sync_channel(1);
    std::thread::Builder::new()
        .name("publish-bounded".into())
        .spawn(move || {
            // Nobody listens any more when this comes too late.
            let _late = answer.send(call());
        })
        .map_err(|error| PublishError::Indefinite(format!("{what}: no thread could be started: {error}")))?;
    answered.recv_timeout(limit).map_err(|error| {
        PublishError::Indefinite(match error {
            RecvTimeoutError::Timeout => format!("{what}: no answer within {} s", limit.as_secs_f32()),
            RecvTimeoutError::Disconnected => format!("{what}: the call ended badly"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_time_is_passed_on() {
        assert_eq!(bounded("asking", Duration::from_secs(60), || 7).unwrap(), 7);
    }

    #[test]
    fn a_call_without_an_end_is_given_up_and_may_still_end() {
        let (release, released) = sync_channel::<()>(0);
        let (tell, told) = sync_channel(1);
        let call = move || {
            let _closed = released.recv();
            let _kept = tell.send("ended");
        };
        let Err(PublishError::Indefinite(detail)) = bounded("asking", Duration::from_millis(20), call) else {
            panic!("a call that does not answer has no known outcome");
        };
        assert_eq!(detail, "asking: no answer within 0.02 s");
        drop(release);
        assert_eq!(told.recv().unwrap(), "ended");
    }
}
