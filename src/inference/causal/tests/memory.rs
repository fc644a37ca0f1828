//! A generator under a budget: it goes when it has nothing to write, and comes back as it was.

use super::generator::{greedy, options};
use super::support::folder;
use crate::inference::Memory;
use crate::inference::causal::{Generator, Options};

/// Would catch: a network that goes in the middle of a text, or for ever; a cache of the old one that a text of the new one reads.
#[tokio::test]
async fn a_generator_goes_for_another_and_writes_the_same_afterwards() {
    let open = |name: &str, memory: &Memory| {
        let options = Options { memory: memory.clone(), cache_bytes: 1 << 20, ..options(2) };
        Generator::open(name, &folder(name), None, &options)
    };
    let free = Memory::default();
    let (llama, qwen) = (open("llama", &free).unwrap(), open("qwen3", &free).unwrap());
    let sizes: Vec<usize> = free.held().iter().map(|of| of.bytes).collect();
    for (generator, size) in [(&llama, sizes[0]), (&qwen, sizes[1])] {
        let bytes = generator.bytes();
        assert!(bytes.weights + bytes.cache == size && bytes.weights > 10_000, "{bytes:?} {size}");
    }
    let prefix: Vec<u32> = (1..20).collect();
    let ids: Vec<u32> = (1..24).collect();
    llama.remember(prefix.clone()).unwrap();
    let wanted = llama.generate(greedy(&ids, 24)).await.unwrap().tokens;
    let other = qwen.generate(greedy(&ids, 24)).await.unwrap().tokens;

    let tight = Memory::limited(sizes[0] + sizes[1] - 1);
    let (llama, qwen) = (open("llama", &tight).unwrap(), open("qwen3", &tight).unwrap());
    llama.remember(prefix).unwrap();
    for _ in 0..3 {
        assert_eq!(llama.generate(greedy(&ids, 24)).await.unwrap().tokens, wanted);
        assert_eq!(qwen.generate(greedy(&ids, 24)).await.unwrap().tokens, other);
    }
    let unloads: Vec<u64> = tight.held().iter().map(|of| of.unloads).collect();
    assert!(unloads[0] >= 3 && unloads[1] >= 3, "{unloads:?}");
    // Many at once: each waits until the other has written what it had begun.
    let asked = (0..6).map(|i| if i % 2 == 0 { &llama } else { &qwen }.generate(greedy(&ids, 24)));
    for (i, answer) in futures_util::future::join_all(asked).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().tokens, if i % 2 == 0 { wanted.clone() } else { other.clone() });
    }
    llama.pin().unwrap();
    let refused = qwen.generate(greedy(&ids, 4)).await.unwrap_err().to_string();
    assert!(refused.contains("`qwen3`") && refused.contains("pinned"), "{refused}");
    assert!(open("gpt2", &Memory::limited(30_000)).err().unwrap().to_string().contains("`gpt2` needs"));
}
