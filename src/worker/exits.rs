//! How pipelines ended, in words and as the worker's exit code.

use crate::lifecycle::Exit;
use crate::pipeline::Ended;

/// Logs how a pipeline ended, and says what that makes of the worker.
pub fn report(name: &str, ended: Ended) -> Exit {
    match ended {
        Ended::Drained => {
            tracing::info!(pipeline = name, "Drained.");
            Exit::Done
        }
        Ended::Abandoned => {
            tracing::warn!(pipeline = name, "Stopped before it was drained; nothing is lost, the next owner goes on.");
            Exit::NotDrained
        }
        Ended::Halted(reason) => {
            tracing::error!(pipeline = name, reason, "Halted for safety.");
            Exit::Halted
        }
        Ended::Failed(reason) => {
            tracing::error!(pipeline = name, reason, "Failed.");
            Exit::Failed
        }
    }
}

/// The one that whoever runs the worker must hear of two.
///
/// A failure stands above a halt: it is what ended the worker, and another start may mend it. A pipeline that is halted ends no worker with others in
/// it; it ends with the drain that somebody else's end began, and the next start finds it halted again.
pub fn worse(one: Exit, other: Exit) -> Exit {
    let rank = |exit: &Exit| match exit {
        Exit::Done => 0,
        Exit::NotDrained => 1,
        Exit::Halted => 2,
        Exit::Failed | Exit::Usage => 3,
    };
    if rank(&other) > rank(&one) { other } else { one }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch: a failure that nobody follows with another start since a neighbour was halted; a halt that a drain, or one cut short, hides.
    #[test]
    fn a_failure_is_told_before_a_halt_and_a_halt_before_a_drain() {
        let halted = || Ended::Halted("the log starts above P".into());
        for (ended, wanted) in [
            (vec![halted(), Ended::Drained], Exit::Halted),
            (vec![halted(), Ended::Abandoned], Exit::Halted),
            (vec![halted(), Ended::Failed("it is stuck".into()), Ended::Abandoned], Exit::Failed),
            (vec![Ended::Abandoned, Ended::Drained], Exit::NotDrained),
            (vec![Ended::Drained, Ended::Drained], Exit::Done),
        ] {
            let exits: Vec<Exit> = ended.into_iter().map(|ended| report("p", ended)).collect();
            let back = exits.iter().rev().copied().fold(Exit::Done, worse);
            assert_eq!((exits.iter().copied().fold(Exit::Done, worse), back), (wanted, wanted), "{exits:?}");
        }
    }
}
