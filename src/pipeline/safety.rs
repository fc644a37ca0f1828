//! Names of the safeties that the simulation takes out, one at a time, to show that each is needed.

/// A safety of the delivery protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// Records of an earlier stay of a partition never enter a new ledger.
    StartedGuard,
    /// Answers for an earlier stay of a partition are dropped.
    Incarnation,
    /// A partition is not claimed again while our own publish round still carries it.
    ClaimAfterRound,
    /// A transaction takes its metadata and its partitions from one lease.
    OneLease,
    /// P < K halts.
    LostCommits,
    /// K < Q halts.
    MovedBack,
    /// A lost K halts unless Q = P.
    LostOffset,
    /// [K, P) of the predecessor is published first.
    BringBack,
    /// The number of rows in [K, P) is compared with the counts.
    CountRows,
    /// A decide without an answer is settled by reading the row.
    ReadRow,
    /// A publish without an answer is settled by reading K.
    ReadOffset,
    /// After Postgres refused a shared round nobody is to blame before each partition went alone.
    SoloRounds,
    /// An event that killed the process twice while it was alone in work is called no more.
    Condemn,
    /// On a partition that is suspected the next event is alone in work, over all partitions.
    AloneInWork,
    /// Nothing is folded while an event waits to be alone in work, and a partition waits for that only once its event is folded.
    ProbedWithoutFolds,
    /// After a claim [S, P) is folded again.
    FoldFrom,
    /// An event that has its ending without a call is folded all the same.
    EndedFolds,
    /// The end of the log tells that [S, P) has come, where P stands behind a marker.
    EndBehindMarker,
    /// An event of [S, P) that comes after the end of the log was told is no repeated delivery.
    EndBelieved,
    /// A row whose states are written has a fold, also where nothing is decided.
    StatesHaveFold,
    /// An event is named under the stay in which it was to be called, and no more once that is over.
    NamedInStay,
    /// A decide that stands still brings a part of what waits.
    PastInParts,
    /// While much of [S, P) waits to be written nothing more of it is folded.
    PastWaits,
    /// Where the row tells that a decide was carried out, S of the row tells which states were written.
    ToldByRow,
    /// What is too far ahead of the slowest partition waits.
    Aligned,
    /// The slowest partition may be another worker's.
    AlignedToOthers,
    /// A partition of which nothing is known holds everybody.
    UnknownHolds,
    /// A partition that has left holds everybody where it stood, until the others are asked again.
    LeftHolds,
    /// What a predecessor decided and did not publish holds everybody.
    BroughtBackHolds,
    /// A claim that is found not to be in force is made anew, also where nothing is decided.
    LostClaim,
    /// While the next event of a partition on probation is too far ahead, it is the turn of the others.
    ProbationWaits,
    /// In an aligned pipeline a claim does not wait for the budget.
    AlignedClaims,
    /// What a paused partition had read is dropped, and nothing enters again before the source has started anew.
    ParkedStartsAnew,
    /// A paused partition reads [S, P) once more where its states are not written.
    ParkedOwesNothing,
    /// The long past of a new run that is paused waits for the resume.
    PausedPast,
    /// Before it is known what is paused nothing is started.
    PausesUnknown,
    /// Nothing is put to work by a wish before Postgres has confirmed from which offset on it is in force.
    TakenFirst,
    /// A wish is in force from the first event on that is not in work.
    TakenAhead,
    /// A claim reads what the predecessors have taken over.
    TakenAtClaim,
}

/// Whether a safety is taken out. Never, in a build that ships.
#[cfg(not(test))]
pub const fn without(_: Safety) -> bool {
    false
}

#[cfg(test)]
thread_local! {
    static OUT: std::cell::Cell<Option<Safety>> = const { std::cell::Cell::new(None) };
}

/// Whether a safety is taken out on this thread.
#[cfg(test)]
pub fn without(safety: Safety) -> bool {
    OUT.get() == Some(safety)
}

/// Takes a safety out on this thread, or puts it back.
#[cfg(test)]
pub fn take_out(safety: Option<Safety>) {
    OUT.set(safety);
}
