use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A model that is a number, how often it was loaded, and how many of it are in memory.
struct Model {
    resident: Resident<Counted>,
    loads: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

struct Counted {
    alive: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

fn model(memory: &Memory, name: &str, bytes: usize) -> Result<Model, InferenceError> {
    let (loads, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, living) = (Arc::clone(&loads), Arc::clone(&alive));
    let load = move || {
        count.fetch_add(1, Ordering::SeqCst);
        living.fetch_add(1, Ordering::SeqCst);
        Ok((Counted { alive: Arc::clone(&living) }, bytes))
    };
    Ok(Model { resident: Resident::open(memory, name, bytes, load.clone(), load)?, loads, alive })
}

fn loaded(memory: &Memory) -> Vec<String> {
    memory.held().into_iter().filter(|of| of.loaded).map(|of| of.name).collect()
}

/// Would catch: the wrong one goes, one that is loaded again and again, memory that is not given back.
#[test]
fn the_one_used_longest_ago_goes_and_comes_back() {
    let memory = Memory::limited(100);
    let (a, b) = (model(&memory, "a", 40).unwrap(), model(&memory, "b", 40).unwrap());
    drop(a.resident.lease().unwrap());
    let c = model(&memory, "c", 50).unwrap();
    assert_eq!(loaded(&memory), ["a", "c"]);
    assert_eq!([&a, &b, &c].map(|of| of.alive.load(Ordering::SeqCst)), [1, 0, 1]);
    drop(b.resident.lease().unwrap());
    assert_eq!(loaded(&memory), ["b", "c"]);
    assert_eq!([&a, &b, &c].map(|of| of.loads.load(Ordering::SeqCst)), [1, 2, 1]);
    assert_eq!(memory.held().iter().map(|of| of.unloads).collect::<Vec<_>>(), [1, 1, 0]);
    drop(c);
    drop(a.resident.lease().unwrap());
    assert_eq!(loaded(&memory), ["a", "b"]);
}

#[test]
fn what_is_pinned_stays_and_what_cannot_fit_is_refused() {
    let memory = Memory::limited(100);
    let too_large = model(&memory, "whale", 101).err().unwrap().to_string();
    assert!(too_large.contains("`whale`") && too_large.contains("101 bytes") && too_large.contains("100"), "{too_large}");
    let a = model(&memory, "a", 60).unwrap();
    a.resident.pin().unwrap();
    let refused = model(&memory, "b", 50).err().unwrap().to_string();
    assert!(refused.contains("`b`") && refused.contains("60 bytes of it"), "{refused}");
    let c = model(&memory, "c", 40).unwrap();
    let d = model(&memory, "d", 30).unwrap();
    assert_eq!(loaded(&memory), ["a", "d"]);
    c.resident.pin().unwrap();
    assert!(d.resident.pin().is_err() && loaded(&memory) == ["a", "c"], "{:?}", loaded(&memory));
    // Who was refused has left no trace.
    assert_eq!(memory.held().len(), 3);
}

/// Would catch: a model in use that goes, a waiter that is never let in because the other is always in use by somebody.
#[test]
fn one_in_use_is_waited_for_and_takes_no_new_work_meanwhile() {
    let memory = Memory::limited(100);
    let (a, b) = (model(&memory, "a", 60).unwrap(), model(&memory, "b", 60).unwrap());
    drop(a.resident.lease().unwrap());
    let first = a.resident.lease().unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| drop(b.resident.lease().unwrap()));
        while !first.is_wanted() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert_eq!(a.alive.load(Ordering::SeqCst), 1);
        // A second lease waits until the first has ended and `b` was there.
        let again = scope.spawn(|| drop(a.resident.lease().unwrap()));
        drop(first);
        other.join().unwrap();
        again.join().unwrap();
    });
    assert_eq!((a.loads.load(Ordering::SeqCst), loaded(&memory)), (3, vec!["a".to_owned()]));
}

#[test]
fn many_threads_never_go_over_the_budget() {
    let memory = Memory::limited(100);
    let models: Vec<Model> = (0..5).map(|i| model(&memory, &format!("m{i}"), 30).unwrap()).collect();
    let together = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (models, together) = (&models, &together);
            scope.spawn(move || {
                for round in 0..200 {
                    let lease = models[(round * 7 + thread * 3) % 5].resident.lease().unwrap();
                    let alive = models.iter().map(|of| of.alive.load(Ordering::SeqCst)).sum::<usize>();
                    together.fetch_max(alive, Ordering::SeqCst);
                    assert!(lease.alive.load(Ordering::SeqCst) == 1);
                }
            });
        }
    });
    assert!((1..=3).contains(&together.load(Ordering::SeqCst)), "{together:?}");
}

/// Would catch: a model that cannot be read for once and is lost for ever, a waiter that waits for one that failed.
#[test]
fn a_failed_load_is_told_and_tried_again() {
    let memory = Memory::limited(100);
    let fails = Arc::new(AtomicUsize::new(0));
    let failing = Arc::clone(&fails);
    let load = move || match failing.load(Ordering::SeqCst) {
        1 => Err(InferenceError::Poison("the disk is away".to_owned())),
        _ => Ok((7u32, 60)),
    };
    let a = Resident::open(&memory, "a", 60, load.clone(), load).unwrap();
    let b = model(&memory, "b", 60).unwrap();
    fails.store(1, Ordering::SeqCst);
    assert!(a.lease().err().unwrap().to_string().contains("the disk is away"));
    drop(b.resident.lease().unwrap());
    fails.store(0, Ordering::SeqCst);
    assert_eq!(*a.lease().unwrap(), 7);
}

/// Would catch: a model that takes more than its file seemed to say, and stands beside others above the budget.
#[test]
fn what_a_model_takes_in_truth_counts() {
    let memory = Memory::limited(100);
    let _small = model(&memory, "small", 50).unwrap();
    let more = || Ok((1u8, 60));
    let grown = Resident::open(&memory, "grown", 40, more, more).unwrap();
    assert_eq!((loaded(&memory), *grown.lease().unwrap()), (vec!["grown".to_owned()], 1));
    let most = || Ok((1u8, 101));
    assert!(Resident::open(&memory, "most", 40, most, most).is_err() && memory.held().len() == 2);
}

#[test]
fn without_a_limit_nothing_goes() {
    let memory = Memory::default();
    let all: Vec<Model> = (0..20).map(|i| model(&memory, &format!("{i}"), usize::MAX / 32).unwrap()).collect();
    assert!(all.iter().all(|of| of.alive.load(Ordering::SeqCst) == 1) && loaded(&memory).len() == 20);
    assert_eq!(*Resident::fixed(3u8, 1).lease().unwrap(), 3);
}

/// Would catch: a model that goes for one that does not stay, one that is refused and takes room in the book.
#[test]
fn while_all_are_kept_none_goes_for_one_that_is_opened() {
    let memory = Memory::limited(100);
    let a = model(&memory, "a", 60).unwrap();
    memory.keep_all(true);
    let crowded = model(&memory, "b", 50).err().unwrap();
    assert!(matches!(&crowded, InferenceError::Crowded { all: 110, limit: 100, .. }), "{crowded}");
    assert_eq!((loaded(&memory), a.loads.load(Ordering::SeqCst), memory.held().len()), (vec!["a".to_owned()], 1, 1));
    let c = model(&memory, "c", 40).unwrap();
    memory.keep_all(false);
    drop(model(&memory, "b", 50).unwrap());
    drop((a, c));
}

/// Would catch: a model that goes for one that was to fit beside it, were it out or of a guessed size; one that stays in the book though it was refused;
/// a rule that outlives the opening and keeps others out.
#[test]
fn who_goes_beside_the_others_puts_none_out() {
    let memory = Memory::limited(100);
    let (a, b) = (model(&memory, "a", 60).unwrap(), model(&memory, "b", 60).unwrap());
    assert_eq!(loaded(&memory), ["b"]);
    let crowded = model(&memory.beside(), "c", 20).err().unwrap();
    assert!(matches!(&crowded, InferenceError::Crowded { bytes: 20, all: 140, limit: 100, .. }), "{crowded}");
    let said = crowded.to_string();
    assert!(said.contains("`c` takes 1 MB") && said.contains("memory_budget_mb"), "{said}");
    drop(b);
    drop(a.resident.lease().unwrap());
    let larger = || Ok((1u8, 50));
    let refused = Resident::open(&memory.beside(), "grown", 30, larger, larger).err().unwrap();
    assert!(matches!(&refused, InferenceError::Crowded { bytes: 50, all: 110, .. }), "{refused}");
    assert_eq!((loaded(&memory), memory.held().len()), (vec!["a".to_owned()], 1));
    let c = model(&memory.beside(), "c", 40).unwrap();
    assert_eq!((loaded(&memory), a.loads.load(Ordering::SeqCst)), (vec!["a".to_owned(), "c".to_owned()], 2));
    // Once it is there it is one like any other.
    drop(model(&memory, "d", 70).unwrap());
    drop(c.resident.lease().unwrap());
    assert_eq!(c.loads.load(Ordering::SeqCst), 2);
}
