//! Networks that write under a budget: they go when they have nothing to write, and come back as they were.

use super::parity::{folder, options, written};
use super::{GenerateOptions, Transducer};
use crate::inference::{InferenceError, Memory, Options, Threads};

fn open(name: &str, folder: &std::path::Path, memory: &Memory) -> Result<Transducer, InferenceError> {
    let options = Options { threads: Threads::Exactly(2), token_budget: 8, memory: memory.clone(), ..Options::default() };
    Transducer::open(name, folder, None, &options)
}

fn loaded(memory: &Memory) -> Vec<String> {
    memory.held().into_iter().filter(|of| of.loaded).map(|of| of.name).collect()
}

/// Would catch: a network that stays whatever the budget, one that goes for ever or in the middle of a text, one that comes back with other
/// numbers, or from files that are not its own any more.
#[tokio::test]
async fn a_network_that_writes_goes_for_another_and_writes_the_same_afterwards() {
    let (t5, bart) = (folder("t5", "v5"), folder("bart", "v5"));
    let free = Memory::default();
    let models = (open("t5", t5.path(), &free).unwrap(), open("bart", bart.path(), &free).unwrap());
    let sizes: Vec<usize> = free.held().iter().map(|of| of.bytes).collect();
    assert!(sizes.iter().all(|size| *size > 10_000) && loaded(&free) == ["t5", "bart"]);
    let short = serde_json::json!({"max_new_tokens": 6});
    let [of_t5, of_bart] = [t5.path(), bart.path()].map(|folder| options(folder, &short));
    let sources = written("t5").sources;
    let ask = async |model: &Transducer, of: &GenerateOptions| model.transduce(sources.clone(), of).await;
    let (wanted, other) = (ask(&models.0, &of_t5).await.unwrap(), ask(&models.1, &of_bart).await.unwrap());
    drop(models);

    let tight = Memory::limited(sizes[0] + sizes[1] - 1);
    let (first, second) = (open("t5", t5.path(), &tight).unwrap(), open("bart", bart.path(), &tight).unwrap());
    for _ in 0..3 {
        assert_eq!(ask(&first, &of_t5).await.unwrap(), wanted);
        assert_eq!(loaded(&tight), ["t5"]);
        assert_eq!(ask(&second, &of_bart).await.unwrap(), other);
        assert_eq!(loaded(&tight), ["bart"]);
    }
    assert!(first.network().vocabulary() > 0 && first.network().hidden() > 0);
    let all = futures_util::future::join_all([
        ask(&first, &of_t5),
        ask(&second, &of_bart),
        ask(&first, &of_t5),
        ask(&second, &of_bart),
    ]);
    for (i, found) in all.await.into_iter().enumerate() {
        assert_eq!(found.unwrap(), if i % 2 == 0 { wanted.clone() } else { other.clone() });
    }

    second.pin().unwrap();
    let refused = ask(&first, &of_t5).await.unwrap_err().to_string();
    assert!(refused.contains("`t5`") && loaded(&tight) == ["bart"], "{refused}");
    let small = open("t5", t5.path(), &Memory::limited(10_000)).err().unwrap().to_string();
    assert!(small.contains("`t5`") && small.contains("memory_budget_mb"), "{small}");

    let (first, _second) = {
        let tight = Memory::limited(sizes[0] + sizes[1] - 1);
        (open("t5", t5.path(), &tight).unwrap(), open("bart", bart.path(), &tight).unwrap())
    };
    let path = t5.path().join("config.json");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\n")).unwrap();
    let error = ask(&first, &of_t5).await.unwrap_err().to_string();
    assert!(error.contains("others than when the model was opened"), "{error}");
}
