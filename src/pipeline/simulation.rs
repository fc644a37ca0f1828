//! The real driver in a simulated world: time is virtual, and by a seed statements come late, replies are lost, processes die,
//! freeze and come back, partitions move, the database goes back, offsets are lost. Every safety of the protocol is taken out
//! once, and some seed must then fail.
//!
//! `MILLRACE_SEEDS` says how many seeds each test runs, `MILLRACE_FIRST_SEED` with which it begins, `MILLRACE_SAFETY` which safety alone is taken out.

mod aligned;
mod check;
mod fold;
mod function;
mod new_run;
mod past;
mod paused;
mod stay;
mod suspects;
mod swapped;
mod world;

use super::Ended;
use super::safety::{Safety, take_out};
use crate::config::OnLostCommits;
use crate::record::Mode;
use std::time::Duration;
use world::World;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Deaths, freezes, slow and lost replies: exactly once, and no halt.
    Ordinary,
    /// The same, with slow neighbours and partitions that move all the time.
    Moves,
    /// As `Ordinary`, in mode `postgres`.
    Postgres,
    /// As `Ordinary`, with a fold: every score and every state is that of an uninterrupted run.
    Folds,
    /// As `Moves`, with a fold.
    FoldsMove,
    /// A new run with a fold, which folds a long past first.
    NewRun,
    /// A backlog that is aligned by event time, under deaths, freezes and moves.
    Aligned,
    /// As `Ordinary`, with a fold or in mode `postgres` in some worlds, and an operator who pauses and resumes.
    Paused,
    /// As `Aligned`, with such an operator.
    AlignedPaused,
    /// As `Ordinary`, with a fold or slow neighbours in some worlds, and an operator who swaps versions.
    Swapped,
    /// An event that kills the process.
    Killer,
    /// The database goes back to an earlier state while workers run.
    DatabaseBack,
    /// Between two lives of the group the database goes back, and what it lost is decided again.
    Reprocess,
    /// Between two lives of the group K is lost.
    OffsetLost,
    /// Between two lives of the group K is set back below Q.
    OffsetBack,
    /// Between two lives of the group a row of [K, P) is deleted.
    RowMissing,
}

/// Runs one world to its end, and says whether its trouble came about. The error says what broke.
fn simulate(trouble: Trouble, seed: u64) -> Result<bool, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        match trouble {
            Trouble::Ordinary => ordinary(&mut world).await.map(|()| true),
            Trouble::Moves => {
                world.cluster.chance.slow_down();
                world.database.chance.slow_down();
                ordinary(&mut world).await.map(|()| true)
            }
            Trouble::Folds => {
                world.folds = true;
                ordinary(&mut world).await.map(|()| true)
            }
            Trouble::FoldsMove => {
                world.folds = true;
                world.cluster.chance.slow_down();
                world.database.chance.slow_down();
                ordinary(&mut world).await.map(|()| true)
            }
            Trouble::NewRun => {
                new_run::kinds(&mut world, seed);
                new_run::remembers_the_log(&mut world).await
            }
            Trouble::Paused => {
                world.pauses = true;
                world.folds = seed.is_multiple_of(2);
                if seed % 5 == 1 {
                    world.mode = Mode::Postgres;
                }
                if seed % 3 == 2 {
                    world.cluster.chance.slow_down();
                    world.database.chance.slow_down();
                }
                paused::whatever_happens(&mut world).await.map(|()| true)
            }
            Trouble::Swapped => {
                world.swaps = true;
                world.folds = seed % 4 == 1;
                world.pauses = seed % 4 == 2;
                if seed % 3 == 2 {
                    world.cluster.chance.slow_down();
                    world.database.chance.slow_down();
                }
                swapped::whatever_happens(&mut world).await
            }
            Trouble::AlignedPaused => {
                world.pauses = true;
                world.align_ms = Some(aligned::BOUND_MS);
                world.folds = seed.is_multiple_of(3);
                aligned::two_lives(&mut world).await.map(|()| true)
            }
            Trouble::Aligned => {
                world.align_ms = Some(aligned::BOUND_MS);
                world.folds = seed.is_multiple_of(3);
                aligned::two_lives(&mut world).await.map(|()| true)
            }
            Trouble::Postgres => {
                world.mode = Mode::Postgres;
                ordinary(&mut world).await.map(|()| true)
            }
            Trouble::Killer => {
                world.folds = seed.is_multiple_of(2);
                killer(&mut world).await.map(|()| true)
            }
            Trouble::DatabaseBack => database_back(&mut world).await,
            Trouble::Reprocess => reprocess(&mut world).await,
            Trouble::OffsetLost | Trouble::OffsetBack | Trouble::RowMissing => between_lives(&mut world, trouble).await,
        }
    })
}

/// Some seconds of deaths, freezes, outages and new work.
async fn troubled_times(world: &mut World, steps: usize) -> Result<(), String> {
    for _ in 0..steps {
        tokio::time::sleep(Duration::from_millis(50 + world.chance.below(1_500) as u64)).await;
        world.reap().await;
        check::offsets_in_order(world)?;
        world.append(world.chance.below(12));
        if world.pauses {
            paused::at_random(world);
        }
        if world.swaps {
            swapped::at_random(world);
        }
        let someone = (!world.workers.is_empty()).then(|| world.chance.below(world.workers.len()));
        match (world.chance.below(10), someone) {
            (0, Some(index)) => world.kill(index),
            (1 | 2, Some(index)) => {
                let frozen = !*world.workers[index].process.frozen.lock().unwrap();
                *world.workers[index].process.frozen.lock().unwrap() = frozen;
            }
            (3, Some(index)) => {
                *world.workers[index].process.frozen.lock().unwrap() = false;
                world.drain(index).await?;
            }
            (4, _) => *world.database.away.lock().unwrap() = world.chance.percent(50),
            (5 | 6, _) if world.workers.len() < 3 => world.start_worker(),
            (_, None) => world.start_worker(),
            _ => {}
        }
    }
    *world.database.away.lock().unwrap() = false;
    if world.swaps {
        world.database.tables().pauses.clear();
    }
    for worker in &world.workers {
        *worker.process.frozen.lock().unwrap() = false;
    }
    Ok(())
}

async fn ordinary(world: &mut World) -> Result<(), String> {
    world.append(40);
    world.start_worker();
    troubled_times(world, 14).await?;
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    if let Some(other) = world.stop().await?.into_iter().find(|ended| *ended != Ended::Drained) {
        return Err(format!("a settled worker ended as {other:?}"));
    }
    check::every_event_ended(world)?;
    if world.folds { fold::online_equals_batch(world) } else { Ok(()) }
}

fn nothing_halted(world: &World) -> Result<(), String> {
    match world.halts().first().or(world.ends.first()) {
        Some(halt) => Err(format!("halted or ended without need: {halt}")),
        None => Ok(()),
    }
}

async fn killer(world: &mut World) -> Result<(), String> {
    world.append(20);
    for partition in &world.partitions[..2] {
        world.cluster.append(partition, "kill");
    }
    world.append(20);
    world.start_worker();
    if world.chance.percent(50) {
        world.start_worker();
    }
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    if world.folds { fold::online_equals_batch(world) } else { Ok(()) }
}

/// Whatever happens: nothing is published twice, and what cannot be made whole is halted. Says whether anything was halted.
async fn database_back(world: &mut World) -> Result<bool, String> {
    world.append(40);
    world.start_worker();
    troubled_times_without_checks(world, 4).await?;
    let before = world.database.tables().clone();
    troubled_times_without_checks(world, 5).await?;
    *world.database.tables() = before;
    troubled_times_without_checks(world, 3).await?;
    world.append(10);
    world.settle(|world| !world.halts().is_empty()).await?;
    // Those that were not halted go on for a while.
    tokio::time::sleep(Duration::from_secs(30)).await;
    check::published_once_in_order(world)?;
    let halted = !world.halts().is_empty() || !world.ends.is_empty();
    if !halted {
        check::every_event_ended(world)?;
    }
    Ok(halted)
}

/// What the database lost is decided again up to K and not published again; then everything goes on as usual.
async fn reprocess(world: &mut World) -> Result<bool, String> {
    world.on_lost_commits = OnLostCommits::Reprocess;
    world.append(40);
    world.start_worker();
    tokio::time::sleep(Duration::from_millis(500 + world.chance.below(6_000) as u64)).await;
    let before = world.database.tables().clone();
    tokio::time::sleep(Duration::from_millis(500 + world.chance.below(9_000) as u64)).await;
    world.append(20);
    while !world.workers.is_empty() {
        world.kill(0);
    }
    tokio::time::sleep(Duration::from_secs(40)).await;
    let lost = world.database.tables().rows.clone();
    *world.database.tables() = before;
    let published = world.cluster.state().offsets.clone();
    let is_lost = |partition| {
        let tables = world.database.tables();
        let p = tables.rows.get(partition).map(|row| row.next_offset);
        // Without a row there is nothing to go on from: that is a halt of its own.
        p.is_some_and(|p| published.get(partition).is_some_and(|k| k.offset > p))
    };
    let any = world.partitions.iter().any(is_lost);
    if world
        .partitions
        .iter()
        .any(|partition| lost.contains_key(partition) && !world.database.tables().rows.contains_key(partition))
    {
        return Ok(false);
    }
    world.start_worker();
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_has_its_rows(world)?;
    check::published_once_in_order(world)?;
    Ok(any)
}

/// Deaths and new work, while P, K and Q may contradict each other.
async fn troubled_times_without_checks(world: &mut World, steps: usize) -> Result<(), String> {
    for _ in 0..steps {
        tokio::time::sleep(Duration::from_millis(50 + world.chance.below(1_500) as u64)).await;
        world.reap().await;
        world.append(world.chance.below(12));
        match world.chance.below(4) {
            0 if !world.workers.is_empty() => world.kill(0),
            1 if world.workers.len() < 3 => world.start_worker(),
            _ if world.workers.is_empty() => world.start_worker(),
            _ => {}
        }
    }
    Ok(())
}

/// Says whether the trouble could be made.
async fn between_lives(world: &mut World, trouble: Trouble) -> Result<bool, String> {
    world.append(60);
    world.start_worker();
    world.start_worker();
    tokio::time::sleep(Duration::from_millis(1_000 + world.chance.below(9_000) as u64)).await;
    let early = world.cluster.state().offsets.clone();
    tokio::time::sleep(Duration::from_millis(world.chance.below(6_000) as u64)).await;
    if trouble == Trouble::OffsetBack || (trouble == Trouble::OffsetLost && world.chance.percent(50)) {
        world.stop().await?;
    }
    while !world.workers.is_empty() {
        world.kill(0);
    }
    // Open transactions of the dead come to their end, and so do statements on their way.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let mut candidates = world.partitions.clone();
    if trouble == Trouble::RowMissing {
        candidates.retain(|partition| {
            let k = world.cluster.state().offsets.get(partition).map_or(0, |k| k.offset);
            !world.database.tables().records_of(partition, k, i64::MAX).is_empty()
        });
    }
    if candidates.is_empty() {
        return Ok(false);
    }
    let partition = candidates[world.chance.below(candidates.len())].clone();
    let Some(row) = world.database.tables().rows.get(&partition).cloned() else { return Ok(false) };
    let Some(k) = world.cluster.state().offsets.get(&partition).cloned() else { return Ok(false) };
    let (p, q) = (row.next_offset, row.published_offset);
    let must_halt = match trouble {
        Trouble::OffsetLost => {
            world.cluster.state().offsets.remove(&partition);
            q < p
        }
        Trouble::OffsetBack => {
            let Some(earlier) = early.get(&partition).filter(|earlier| earlier.offset < q) else { return Ok(false) };
            world.cluster.state().offsets.insert(partition.clone(), earlier.clone());
            true
        }
        _ => {
            let unpublished = world.database.tables().records_of(&partition, k.offset, p);
            let Some(victim) = unpublished.first() else { return Ok(false) };
            world.database.tables().records.remove(&(partition.clone(), victim.offset, victim.n));
            true
        }
    };
    world.start_worker();
    world.settle(|world| world.halts().iter().any(|halt| halt.starts_with(&partition.to_string()))).await?;
    check::published_once_in_order(world)?;
    let halted = !world.halts().is_empty();
    if halted != must_halt {
        return Err(format!("halted {halted}, must halt {must_halt}: {:?}", world.halts()));
    }
    if !halted {
        check::every_event_ended(world)?;
    }
    Ok(true)
}

/// The seeds that are asked for, or `default` of them.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let asked = |name| match std::env::var(name) {
        Ok(text) => Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is not a number"))),
        Err(_) => None,
    };
    let first = asked("MILLRACE_FIRST_SEED").unwrap_or(0);
    first..first + asked("MILLRACE_SEEDS").unwrap_or(default)
}

/// Runs the seeds, and makes sure that the trouble came about in at least a quarter of them.
fn all_seeds(trouble: Trouble, default: u64) {
    let (seeds, mut effective, mut broken) = (seeds(default), 0, Vec::new());
    let worlds = seeds.end - seeds.start;
    for seed in seeds {
        match simulate(trouble, seed) {
            Ok(came_about) => effective += u64::from(came_about),
            Err(why) => broken.push(format!("{trouble:?}, seed {seed}: {why}")),
        }
    }
    assert!(broken.is_empty(), "{} of {worlds} worlds broke:\n{}", broken.len(), broken.join("\n"));
    // A few say nothing of how often.
    assert!(worlds < 20 || effective * 4 >= worlds, "{trouble:?} came about in {effective} of {worlds} worlds");
}

#[test]
fn deaths_freezes_and_lost_replies_lose_and_double_nothing() {
    all_seeds(Trouble::Ordinary, 400);
}

#[test]
fn rows_alone_are_neither_lost_nor_doubled() {
    all_seeds(Trouble::Postgres, 200);
}

#[test]
fn scores_and_states_are_those_of_an_uninterrupted_run() {
    all_seeds(Trouble::Folds, 200);
    all_seeds(Trouble::FoldsMove, 100);
}

/// Would catch: a past that is scored or half forgotten, states that wait for the end of it, a late decide that takes a state back.
#[test]
fn a_new_run_has_the_states_of_an_uninterrupted_one() {
    all_seeds(Trouble::NewRun, 100);
}

/// Would catch: a past that is folded without end while nothing of it can be written.
#[test]
fn a_past_that_cannot_be_written_waits() {
    let most = tell(past::memory_beside_an_outage(), None);
    assert!(most < 1_500, "{most} bytes of states");
    let without = tell(past::memory_beside_an_outage(), Some(Safety::PastWaits));
    assert!(without > 10_000, "nothing shows that the safety is needed: {without} bytes of states");
}

/// Would catch: a partition on probation that waits for the end of another's past, and with it all that the worker scores.
#[test]
fn an_event_on_probation_does_not_wait_for_the_past_of_others() {
    let took = tell(past::probed_beside_a_long_past(), None);
    let without = tell(past::probed_beside_a_long_past(), Some(Safety::ProbedWithoutFolds));
    assert!(took * 3 < without, "{took:?}, and {without:?} without the safety");
}

/// Would catch: a pause that folds the past of a new run to its end, one that throws away what was folded, one that holds memory.
#[test]
fn a_pause_stops_the_fold_of_a_long_past() {
    let (s, p, held) = tell(past::paused_in_its_past(), None);
    assert!(s > 0 && p - s > 1_000 && held == 0, "S {s}, P {p}, {held} bytes are held");
    let (s, p, _) = tell(past::paused_in_its_past(), Some(Safety::PausedPast));
    assert_eq!(s, p, "nothing shows that the safety is needed");
}

/// Would catch: events below P that are left out of the states and nobody says so, since the log seemed to end before them.
#[test]
fn an_end_of_the_log_that_was_none_leaves_no_event_out() {
    tell(past::beside_an_early_end(200), None).unwrap();
    let late = tell(past::beside_an_early_end(60_000), None).unwrap_err();
    assert!(late.contains("came after Kafka had told the end of the log"), "{late}");
    let without = tell(past::beside_an_early_end(200), Some(Safety::EndBelieved)).unwrap_err();
    assert!(without.contains("states"), "nothing shows that the safety is needed: {without}");
}

/// Would catch: a partition whose S stays below P until its next event, so that it cannot be erased and its past is read again by each claim.
#[test]
fn a_past_that_ends_with_a_marker_is_written_to_its_end() {
    tell(past::before_a_marker(), None).unwrap();
    let without = tell(past::before_a_marker(), Some(Safety::EndBehindMarker)).unwrap_err();
    assert!(without.contains("nothing moves"), "{without}");
}

/// Would catch: states of one fold that another goes on from, since no event was decided yet.
#[test]
fn states_of_a_past_are_continued_by_their_own_fold_alone() {
    let halted = tell(past::under_another_fold(), None).unwrap_or_default();
    assert!(halted.contains("was folded by the fold chain0000000"), "{halted}");
    assert_eq!(tell(past::under_another_fold(), Some(Safety::StatesHaveFold)), None, "nothing shows that the safety is needed");
}

#[test]
fn a_backlog_goes_out_in_the_order_of_event_time() {
    all_seeds(Trouble::Aligned, 100);
}

#[test]
fn what_is_paused_stands_still_and_ends_once_it_is_resumed() {
    all_seeds(Trouble::Paused, 200);
    all_seeds(Trouble::AlignedPaused, 60);
}

#[test]
fn each_event_is_scored_by_the_version_that_the_rows_name() {
    all_seeds(Trouble::Swapped, 120);
}

#[test]
fn partitions_that_move_under_slow_rounds_lose_and_double_nothing() {
    all_seeds(Trouble::Moves, 200);
}

#[test]
fn the_event_that_kills_the_process_alone_is_condemned() {
    all_seeds(Trouble::Killer, 100);
}

#[test]
fn a_database_that_goes_back_doubles_nothing() {
    all_seeds(Trouble::DatabaseBack, 200);
}

#[test]
fn what_the_database_lost_is_decided_again_when_asked_for() {
    all_seeds(Trouble::Reprocess, 100);
}

#[test]
fn lost_or_moved_offsets_and_missing_rows_halt() {
    all_seeds(Trouble::OffsetLost, 100);
    all_seeds(Trouble::OffsetBack, 100);
    all_seeds(Trouble::RowMissing, 100);
}

#[test]
fn the_same_seed_is_the_same_world() {
    let output = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(seed);
            ordinary(&mut world).await.unwrap();
            world.cluster.state().output.clone()
        })
    };
    assert_eq!(output(3), output(3));
}

/// Runs one world that is told by hand, with a safety in place or taken out.
fn tell<T>(world: impl Future<Output = T>, without: Option<Safety>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    take_out(without);
    let told = runtime.block_on(world);
    take_out(None);
    told
}

#[test]
fn what_was_decided_under_one_stay_does_not_go_out_under_a_later_one() {
    assert!(tell(stay::leases_tried(), None).iter().all(|lease| *lease == 1));
    assert!(tell(stay::leases_tried(), Some(Safety::OneLease)).contains(&3), "nothing shows that the safety is needed");
}

#[test]
fn records_of_an_earlier_stay_do_not_get_into_the_next() {
    assert_eq!(tell(stay::decided_after_stale_records(), None), 5);
    let without = tell(stay::decided_after_stale_records(), Some(Safety::StartedGuard));
    assert!(without < 5, "nothing shows that the safety is needed: {without} events are decided without it");
}

#[test]
fn a_claim_waits_for_the_round_that_still_carries_its_partition() {
    let once = |mut published: Vec<i64>| {
        published.sort_unstable();
        let all = published.len();
        published.dedup();
        (all, published.len())
    };
    assert_eq!(once(tell(stay::published_around_a_move(), None)), (5, 5));
    let without = once(tell(stay::published_around_a_move(), Some(Safety::ClaimAfterRound)));
    assert!(without.0 > without.1, "nothing shows that the safety is needed: {without:?}");
}

/// Would catch: a partition that still counts as caught up when its next event waits for a schema, so that the others run ahead of it.
#[test]
fn a_partition_whose_next_event_waits_is_waited_for() {
    assert_eq!(tell(stay::decided_beside_one_that_waits(), None), [0, 5]);
}

/// Would catch: a process that remembers the last name alone, and takes its own for one that another died with: an event that has killed one
/// process would be condemned for two.
#[test]
fn a_name_that_was_lost_lays_no_death_on_the_one_before() {
    assert_eq!(tell(suspects::label_beside_a_lost_name(), None), "refused_by_store");
}

/// Would catch: a name that lands after the handover and stays, so that the next owner counts a death that was none; one that is taken back together with
/// the death that was there before.
#[test]
fn a_name_that_comes_late_is_taken_back() {
    assert_eq!(tell(suspects::row_after_a_name_that_came_late(), None), (Some(0), 1));
}

/// Would catch: a death that is counted against an event whose partition was handed over in good order.
#[test]
fn nothing_is_named_once_the_stay_is_over() {
    assert_eq!(tell(suspects::named_after_the_handover(), None), None);
    let without = tell(suspects::named_after_the_handover(), Some(Safety::NamedInStay));
    assert_eq!(without, Some(0), "nothing shows that the safety is needed");
}

/// Would catch: a worker that outstays its drain for the sake of a late copy, until it is killed and has not left the group.
#[test]
fn a_silent_postgres_keeps_no_worker_that_leaves() {
    let (ended, took) = tell(stay::drained_beside_a_silent_postgres(), None);
    assert!(ended == Ended::Drained && took < Duration::from_secs(12), "{ended:?} after {took:?}");
}

/// Would catch: a partition that waits for its version and reads on, neighbours that it stops.
#[test]
fn a_partition_without_its_version_holds_little_and_stops_no_neighbour() {
    let (held, others_ended) = tell(swapped::beside_one_that_stands(), None);
    assert!((1..20).contains(&held) && others_ended, "{held} events are held, the others ended: {others_ended}");
}

/// Would catch: a canary that stays in force though an event kills the process in its hands, or though its calls never come to an end.
#[test]
fn a_canary_that_kills_or_never_answers_is_taken_back() {
    let kills = tell(swapped::taken_back("v1"), None);
    assert!(kills.contains("died twice while the canary scored the event"), "{kills}");
    let fails = tell(swapped::taken_back(swapped::FAILING), None);
    assert!(fails.contains("failed for more than 60s, again and again"), "{fails}");
}

/// Would catch: a swap away from the pipeline's own settings that waits for their calls, which never end; their canary that nobody takes back.
#[test]
fn a_base_that_never_answers_is_left_like_any_version() {
    tell(swapped::away_from_a_failing_base(), None).unwrap();
    let fails = tell(swapped::base_taken_back(), None);
    assert!(fails.contains("failed for more than 60s, again and again"), "{fails}");
}

/// The worlds that show each safety is needed, and how many seeds they may take to do so.
#[test]
fn some_seed_fails_when_a_safety_is_taken_out() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let asked = |safety: &Safety| std::env::var("MILLRACE_SAFETY").map_or(true, |name| format!("{safety:?}") == name);
    assert!(MUTANTS.iter().any(|(safety, _)| asked(safety)), "there is no such safety");
    let mut survivors = Vec::new();
    for (safety, troubles) in MUTANTS.iter().filter(|(safety, _)| asked(safety)) {
        take_out(Some(*safety));
        let missed = (0..1_000u64).find_map(|seed| {
            let trouble = troubles[seed as usize % troubles.len()];
            match std::panic::catch_unwind(|| simulate(trouble, seed)) {
                Ok(Ok(_)) => None,
                Ok(Err(broken)) => Some((trouble, seed, broken)),
                Err(_) => Some((trouble, seed, "a panic".into())),
            }
        });
        take_out(None);
        // It must be the safety that is missed, and nothing else.
        if let Some((trouble, seed, _)) = &missed
            && let Err(broken) = simulate(*trouble, *seed)
        {
            panic!("{trouble:?}, seed {seed} breaks with every safety in place: {broken}");
        }
        match missed {
            Some((_, seed, broken)) => println!("{safety:?} is missed at seed {seed}: {broken:.160}"),
            None => survivors.push(*safety),
        }
    }
    std::panic::set_hook(hook);
    assert!(survivors.is_empty(), "nothing shows that these are needed: {survivors:?}");
}

const MUTANTS: &[(Safety, &[Trouble])] = &[
    (Safety::Incarnation, &[Trouble::Moves]),
    (Safety::BringBack, &[Trouble::Ordinary]),
    (Safety::ReadRow, &[Trouble::Ordinary]),
    (Safety::ReadOffset, &[Trouble::Ordinary]),
    (Safety::SoloRounds, &[Trouble::Ordinary]),
    (Safety::LostCommits, &[Trouble::DatabaseBack]),
    (Safety::LostOffset, &[Trouble::OffsetLost]),
    (Safety::MovedBack, &[Trouble::OffsetBack]),
    (Safety::CountRows, &[Trouble::RowMissing]),
    (Safety::Condemn, &[Trouble::Killer]),
    (Safety::AloneInWork, &[Trouble::Killer]),
    (Safety::FoldFrom, &[Trouble::Folds]),
    (Safety::EndedFolds, &[Trouble::Folds]),
    (Safety::PastInParts, &[Trouble::NewRun]),
    (Safety::ToldByRow, &[Trouble::NewRun]),
    (Safety::Aligned, &[Trouble::Aligned]),
    (Safety::AlignedToOthers, &[Trouble::Aligned]),
    (Safety::UnknownHolds, &[Trouble::Aligned]),
    (Safety::LeftHolds, &[Trouble::Aligned]),
    (Safety::BroughtBackHolds, &[Trouble::Aligned]),
    (Safety::LostClaim, &[Trouble::Aligned]),
    (Safety::ProbationWaits, &[Trouble::Aligned]),
    (Safety::AlignedClaims, &[Trouble::Aligned]),
    (Safety::ParkedStartsAnew, &[Trouble::Paused]),
    (Safety::ParkedOwesNothing, &[Trouble::Paused]),
    (Safety::PausesUnknown, &[Trouble::Paused]),
    (Safety::TakenFirst, &[Trouble::Swapped]),
    (Safety::TakenAhead, &[Trouble::Swapped]),
    (Safety::TakenAtClaim, &[Trouble::Swapped]),
];
