//! Swaps by an operator, whoever dies and whatever moves: every event that is decided was scored by the version that the rows name for its
//! offset and its key.

use super::function::Moody;
use super::world::World;
use super::{check, fold, nothing_halted, troubled_times};
use crate::config::BASE;
use crate::pipeline::{Ended, Version, Versions};
use crate::record::{Kind, Record};
use crate::store::{Canary, Swap, taken_at};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::Arc;

const NAMES: [&str; 3] = [BASE, "v1", "v2"];

/// One that can never be built.
const GONE: &str = "gone";
/// One whose calls fail for now, for ever.
pub const FAILING: &str = "failing";

/// Versions that score alike and name themselves. Now and then one cannot be built.
pub struct Moods(pub Arc<Moody>);

impl Versions for Moods {
    fn load(&self, name: Arc<str>) -> BoxFuture<'static, Result<Version, String>> {
        let moody = self.0.clone();
        async move {
            tokio::time::sleep(moody.cluster.chance.delay()).await;
            moody.process.awake().await;
            if &*name == GONE {
                return Err("its files are gone".to_owned());
            }
            match moody.cluster.chance.percent(20) {
                true => Err("its weights are not the ones that are wanted".to_owned()),
                false => {
                    let moody = if &*name == FAILING { Arc::new(moody.failing()) } else { moody };
                    Ok(Version { model: Some(name.clone()), config: Some(name.clone()), name, ..Version::base(moody) })
                }
            }
        }
        .boxed()
    }
}

/// Now and then wants another version, with a canary or without.
pub fn at_random(world: &World) {
    if world.chance.below(10) >= 4 {
        return;
    }
    let version: Arc<str> = NAMES[world.chance.below(NAMES.len())].into();
    let other: Arc<str> = NAMES[world.chance.below(NAMES.len())].into();
    let share = if world.chance.percent(50) { 0.3 } else { 0.7 };
    let canary = (other != version && world.chance.percent(60)).then_some(Canary { version: other, share });
    let mut tables = world.database.tables();
    let number = tables.wish.as_ref().map_or(1, |wish| wish.number + 1);
    let (reason, by, since) = ("why".to_owned(), "somebody".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    tables.wish = Some(Swap { number, version, canary, reason, by, since });
}

/// The version of every record is the one that the rows name. Says whether any was of another version than the pipeline's own.
pub fn scored_by_what_the_rows_say(world: &World) -> Result<bool, String> {
    let tables = world.database.tables();
    let mut any = false;
    // Also dead letters of events that a function was called with. The fold rejects before that.
    let called = |record: &Record| match record.label.as_deref() {
        Some("poison") => true,
        Some("rejected") => !world.folds,
        _ => record.kind == Kind::Prediction,
    };
    for ((partition, offset, _), record) in tables.records.iter().filter(|(_, record)| called(record)) {
        let all = tables.taken.get(partition).map(Vec::as_slice).unwrap_or_default();
        // The simulation's events have no key: their id stands for it.
        let id = format!("{}/{}/{offset}", partition.topic, partition.partition);
        let named = taken_at(all, *offset).map_or(BASE, |taken| taken.version_of("p", &id));
        let found = record.model.as_deref().unwrap_or(BASE);
        if found != named || record.config != record.model {
            return Err(format!("{partition}/{offset} was scored by {found}, and the rows say {named}: {all:?}"));
        }
        any |= found != BASE;
    }
    Ok(any)
}

/// Swaps under faults; then everything comes to its end, and every partition to the last wish. Says whether a version was swapped in.
pub async fn whatever_happens(world: &mut World) -> Result<bool, String> {
    world.append(40);
    world.start_worker();
    troubled_times(world, 16).await?;
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    let any = scored_by_what_the_rows_say(world)?;
    for _ in 0..600 {
        world.reap().await;
        if world.workers.is_empty() {
            world.start_worker();
        }
        if all_have_gone_over(world) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    if !all_have_gone_over(world) {
        let tables = world.database.tables();
        return Err(format!("wanted is {:?}, and taken over {:?}", tables.wish, tables.taken));
    }
    world.append(30);
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(world)?;
    check::every_event_ended(world)?;
    scored_by_what_the_rows_say(world)?;
    if let Some(other) = world.stop().await?.into_iter().find(|ended| *ended != Ended::Drained) {
        return Err(format!("a settled worker ended as {other:?}"));
    }
    if world.folds { fold::online_equals_batch(world).map(|()| any) } else { Ok(any) }
}

fn all_have_gone_over(world: &World) -> bool {
    let tables = world.database.tables();
    let Some(wish) = &tables.wish else { return true };
    let number = |partition| tables.taken.get(partition).and_then(|all| all.last()).map(|last| last.number);
    world.partitions.iter().all(|partition| number(partition) == Some(wish.number))
}

fn wish(version: &str, canary: Option<(&str, f64)>) -> Swap {
    let canary = canary.map(|(version, share)| Canary { version: version.into(), share });
    let (reason, by, since) = ("why".to_owned(), "somebody".to_owned(), "2026-01-01T00:00:00Z".to_owned());
    Swap { number: 1, version: version.into(), canary, reason, by, since }
}

/// The rows of one partition name a version that cannot be built. Returns the events that are held of it, and whether the others ended.
pub async fn beside_one_that_stands() -> (usize, bool) {
    let mut world = World::new(1);
    let stands = world.partitions[0].clone();
    world.database.tables().taken.insert(stands.clone(), vec![wish(GONE, None).taken_from(0)]);
    for partition in world.partitions.clone() {
        for _ in 0..200 {
            world.cluster.append(&partition, "one");
        }
    }
    world.start_worker();
    let ended = |world: &World| {
        let decided = |partition| world.database.tables().rows.get(partition).map(|row| row.next_offset);
        world.partitions[1..].iter().all(|partition| decided(partition) == Some(world.cluster.bounds(partition).high))
    };
    world.settle(ended).await.unwrap();
    (world.held_of(&stands), ended(&world))
}

/// A canary with all keys, under work. Returns what is wanted at the end, once everything has come to its end.
async fn under_canary(world: &mut World, version: &str) -> Swap {
    world.swaps = true;
    world.database.tables().wish = Some(wish(BASE, Some((version, 1.0))));
    world.start_worker();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    world.append(40);
    world.cluster.append(&world.partitions[0].clone(), if version == FAILING { "one" } else { "kill" });
    world.append(40);
    world.settle(|world| !world.halts().is_empty()).await.unwrap();
    nothing_halted(world).unwrap();
    check::every_event_ended(world).unwrap();
    // What is owed may be taken back after that.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let wish = world.database.tables().wish.clone();
    wish.unwrap()
}

/// The reason with which a canary was taken back.
pub async fn taken_back(version: &str) -> String {
    let mut world = World::new(3);
    let now = under_canary(&mut world, version).await;
    assert!(now.canary.is_none() && now.number == 2, "{now:?}");
    now.reason
}

/// The pipeline's own settings fail at every call, and another version is wanted under work. Says whether every event ended.
pub async fn away_from_a_failing_base() -> Result<(), String> {
    let mut world = World::new(4);
    (world.swaps, world.base_fails) = (true, true);
    world.append(40);
    world.start_worker();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    world.database.tables().wish = Some(wish("v1", None));
    world.settle(|world| !world.halts().is_empty()).await?;
    nothing_halted(&world)?;
    check::every_event_ended(&world)
}

/// The reason with which a canary of the pipeline's own settings was taken back, which fail at every call.
pub async fn base_taken_back() -> String {
    let mut world = World::new(5);
    (world.swaps, world.base_fails) = (true, true);
    world.database.tables().wish = Some(wish("v1", Some((BASE, 1.0))));
    world.start_worker();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    world.append(40);
    world.settle(|world| !world.halts().is_empty()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let now = world.database.tables().wish.clone().unwrap();
    assert!(now.canary.is_none() && now.number == 2, "{now:?}");
    now.reason
}
