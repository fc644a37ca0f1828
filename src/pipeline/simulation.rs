//! The real driver in a simulated world: time is virtual, and by a seed statements come late, replies are lost, processes die,
//! freeze and come back, partitions move, the database goes back, offsets are lost. Every safety of the protocol is taken out
//! once, and must be missed.
//!
//! `MILLRACE_SEEDS` says how many seeds each test runs.

mod check;
mod function;
mod world;

use super::Ended;
use super::safety::{Safety, take_out};
use std::time::Duration;
use world::World;

/// What a run is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Deaths, freezes, slow and lost replies: exactly once, and no halt.
    Ordinary,
    /// An event that kills the process.
    Killer,
    /// The database goes back to an earlier state while workers run.
    DatabaseBack,
    /// Between two lives of the group K is lost.
    OffsetLost,
    /// Between two lives of the group K is set back below Q.
    OffsetBack,
    /// Between two lives of the group a row of [K, P) is deleted.
    RowMissing,
}

/// Runs one world to its end. The error says what broke.
fn simulate(trouble: Trouble, seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(seed);
        match trouble {
            Trouble::Ordinary => ordinary(&mut world).await,
            Trouble::Killer => killer(&mut world).await,
            Trouble::DatabaseBack => database_back(&mut world).await,
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
    check::every_event_ended(world)
}

fn nothing_halted(world: &World) -> Result<(), String> {
    match world.halts().first().or(world.ends.first()) {
        Some(halt) => Err(format!("halted or ended without need: {halt}")),
        None => Ok(()),
    }
}

async fn killer(world: &mut World) -> Result<(), String> {
    world.append(20);
    world.cluster.append(&world.partitions[0], "kill");
    world.append(20);
    world.start_worker();
    if world.chance.percent(50) {
        world.start_worker();
    }
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)
}

/// Whatever happens: nothing is published twice, and what cannot be made whole is halted.
async fn database_back(world: &mut World) -> Result<(), String> {
    world.append(40);
    world.start_worker();
    troubled_times_without_checks(world, 4).await?;
    let before = world.database.tables().clone();
    troubled_times_without_checks(world, 5).await?;
    *world.database.tables() = before;
    troubled_times_without_checks(world, 3).await?;
    world.append(10);
    world.settle(|world| !world.halts().is_empty()).await?;
    check::published_once_in_order(world)?;
    if world.halts().is_empty() && world.ends.is_empty() { check::every_event_ended(world) } else { Ok(()) }
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

async fn between_lives(world: &mut World, trouble: Trouble) -> Result<(), String> {
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
    let partition = world.partitions[world.chance.below(world.partitions.len())].clone();
    let Some(row) = world.database.tables().rows.get(&partition).cloned() else { return Ok(()) };
    let Some(k) = world.cluster.state().offsets.get(&partition).cloned() else { return Ok(()) };
    let (p, q) = (row.next_offset, row.published_offset);
    let must_halt = match trouble {
        Trouble::OffsetLost => {
            world.cluster.state().offsets.remove(&partition);
            q < p
        }
        Trouble::OffsetBack => {
            let Some(earlier) = early.get(&partition).filter(|earlier| earlier.offset < q) else { return Ok(()) };
            world.cluster.state().offsets.insert(partition.clone(), earlier.clone());
            true
        }
        _ => {
            let unpublished = world.database.tables().records_of(&partition, k.offset, p);
            let Some(victim) = unpublished.first() else { return Ok(()) };
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
    if halted { Ok(()) } else { check::every_event_ended(world) }
}

fn seeds(default: u64) -> u64 {
    std::env::var("MILLRACE_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn all_seeds(trouble: Trouble, default: u64) {
    for seed in 0..seeds(default) {
        if let Err(broken) = simulate(trouble, seed) {
            panic!("{trouble:?}, seed {seed}: {broken}");
        }
    }
}

#[test]
fn deaths_freezes_and_lost_replies_lose_and_double_nothing() {
    all_seeds(Trouble::Ordinary, 400);
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

/// The worlds that show each safety is needed, and how many seeds they may take to do so.
#[test]
fn every_safety_is_missed_when_it_is_taken_out() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut survivors = Vec::new();
    for (safety, troubles) in MUTANTS {
        take_out(Some(*safety));
        let missed = (0..2_000u64).find_map(|seed| {
            let trouble = troubles[seed as usize % troubles.len()];
            match std::panic::catch_unwind(|| simulate(trouble, seed)) {
                Ok(Ok(())) => None,
                Ok(Err(broken)) => Some((seed, broken)),
                Err(_) => Some((seed, "a panic".into())),
            }
        });
        take_out(None);
        match missed {
            Some((seed, broken)) => println!("{safety:?} is missed at seed {seed}: {broken:.160}"),
            None => survivors.push(*safety),
        }
    }
    std::panic::set_hook(hook);
    assert!(survivors.is_empty(), "nothing shows that these are needed: {survivors:?}");
}

const MUTANTS: &[(Safety, &[Trouble])] = &[
    (Safety::StartedGuard, &[Trouble::Ordinary]),
    (Safety::Incarnation, &[Trouble::Ordinary]),
    (Safety::ClaimAfterRound, &[Trouble::Ordinary]),
    (Safety::OneLease, &[Trouble::Ordinary]),
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
];
