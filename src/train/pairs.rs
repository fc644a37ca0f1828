//! Pairs of labelled texts: as many of one label as of two.

use anyhow::{Result, ensure};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::{BTreeMap, HashSet};

/// Two texts by their places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    pub first: usize,
    pub second: usize,
    /// Whether they have one label.
    pub same: bool,
}

/// The places of the texts of each label.
fn by_label(labels: &[u32]) -> Vec<Vec<usize>> {
    let mut all: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    labels.iter().enumerate().for_each(|(text, label)| all.entry(*label).or_default().push(text));
    all.into_values().collect()
}

fn choose_two(count: usize) -> usize {
    count * count.saturating_sub(1) / 2
}

/// Pairs of texts with these labels, half of one label and half of two, `most` in all. The kind of which there are fewer is repeated until
/// both are as many; of more than are wanted some are drawn with `seed`, none of them twice.
pub fn pairs(labels: &[u32], most: usize, seed: u64) -> Result<Vec<Pair>> {
    let groups = by_label(labels);
    let alike: usize = groups.iter().map(|group| choose_two(group.len())).sum();
    let apart = choose_two(labels.len()) - alike;
    ensure!(alike > 0, "each label has one text; pairs need two of a label at least, --recipe centroid does not");
    ensure!(apart > 0, "all texts have one label; pairs need two labels");
    let wanted = alike.max(apart).min(most.max(2) / 2);
    let mut rng = StdRng::seed_from_u64(seed);
    let mut all = Vec::with_capacity(2 * wanted);
    for (same, total) in [(true, alike), (false, apart)] {
        let found = match total <= 2 * wanted {
            true => {
                let mut every = every(&groups, same);
                every.shuffle(&mut rng);
                every.into_iter().cycle().take(wanted).collect()
            }
            false => drawn(labels, &groups, (same, total), wanted, &mut rng),
        };
        all.extend(found.into_iter().map(|(first, second): (usize, usize)| Pair { first, second, same }));
    }
    Ok(all)
}

/// All pairs of one kind.
fn every(groups: &[Vec<usize>], same: bool) -> Vec<(usize, usize)> {
    let mut all = Vec::new();
    for (i, group) in groups.iter().enumerate() {
        for (j, &first) in group.iter().enumerate() {
            match same {
                true => all.extend(group[j + 1..].iter().map(|&second| (first, second))),
                false => all.extend(groups[i + 1..].iter().flatten().map(|&second| (first, second))),
            }
        }
    }
    all
}

/// So many different pairs of one kind, of which there are at least twice as many.
fn drawn(
    labels: &[u32],
    groups: &[Vec<usize>],
    (same, total): (bool, usize),
    wanted: usize,
    rng: &mut StdRng,
) -> Vec<(usize, usize)> {
    let (mut seen, mut all) = (HashSet::new(), Vec::with_capacity(wanted));
    while all.len() < wanted {
        let (first, second) = match same {
            true => {
                // A label by how many pairs it has.
                let mut place = rng.random_range(0..total);
                let holds = |group: &&Vec<usize>| {
                    let count = choose_two(group.len());
                    let within = place < count;
                    place -= if within { 0 } else { count };
                    within
                };
                let Some(group) = groups.iter().find(holds) else { continue };
                (group[rng.random_range(0..group.len())], group[rng.random_range(0..group.len())])
            }
            false => (rng.random_range(0..labels.len()), rng.random_range(0..labels.len())),
        };
        let pair = (first.min(second), first.max(second));
        if first != second && (labels[first] == labels[second]) == same && seen.insert(pair) {
            all.push(pair);
        }
    }
    all
}

/// Pairs to measure on: each text of `dev` with one of `train` of its label and with one of another, `most` in all. The places of `dev` go
/// on behind those of `train`.
pub fn beside(train: &[u32], dev: &[u32], most: usize, seed: u64) -> Result<Vec<Pair>> {
    let mut rng = StdRng::seed_from_u64(seed);
    let wanted = (most / 2).clamp(1, dev.len().max(1));
    let mut all = Vec::with_capacity(2 * wanted);
    for place in (0..wanted).map(|i| i * dev.len() / wanted).filter(|place| *place < dev.len()) {
        for same in [true, false] {
            let others: Vec<usize> = (0..train.len()).filter(|&text| (train[text] == dev[place]) == same).collect();
            ensure!(!others.is_empty(), "a text to measure on has a label that no other text has, or that all have");
            let second = others[rng.random_range(0..others.len())];
            all.push(Pair { first: train.len() + place, second, same });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(counts: &[usize]) -> Vec<u32> {
        counts.iter().enumerate().flat_map(|(label, count)| vec![label as u32; *count]).collect()
    }

    fn check(pairs: &[Pair], labels: &[u32]) -> usize {
        for pair in pairs {
            assert!(pair.first != pair.second && (labels[pair.first] == labels[pair.second]) == pair.same, "{pair:?}");
        }
        assert_eq!(2 * pairs.iter().filter(|pair| pair.same).count(), pairs.len());
        pairs.iter().map(|pair| (pair.first.min(pair.second), pair.first.max(pair.second))).collect::<HashSet<_>>().len()
    }

    /// Would catch: a cap that does not hold, a kind that is not repeated, a text beside itself, labels that are mixed up.
    #[test]
    fn both_kinds_are_as_many_and_the_cap_holds() {
        // 3 + 1 pairs of one label, 6 of two.
        let few = labels(&[3, 2]);
        let all = pairs(&few, 1_000, 1).unwrap();
        assert_eq!((all.len(), check(&all, &few)), (12, 10));
        for most in [2, 8] {
            let some = pairs(&few, most, 1).unwrap();
            assert_eq!((some.len(), check(&some, &few)), (most, most));
        }
        // 595 + 780 of one label, 1,400 of two: fewer than are wanted of neither.
        let many = labels(&[35, 40]);
        for most in [200, 2_000] {
            let some = pairs(&many, most, 1).unwrap();
            assert_eq!((some.len(), check(&some, &many)), (most, most));
        }
        let lonely = labels(&[1, 30]);
        let some = pairs(&lonely, 50, 1).unwrap();
        assert_eq!((some.len(), check(&some, &lonely)), (50, 50));
    }

    #[test]
    fn the_seed_says_which() {
        let many = labels(&[35, 40]);
        assert_eq!(pairs(&many, 100, 1).unwrap(), pairs(&many, 100, 1).unwrap());
        assert_ne!(pairs(&many, 100, 1).unwrap(), pairs(&many, 100, 2).unwrap());
    }

    #[test]
    fn what_has_no_pairs_is_refused() {
        assert!(pairs(&labels(&[1, 1, 1]), 10, 1).unwrap_err().to_string().contains("centroid"));
        assert!(pairs(&labels(&[4]), 10, 1).unwrap_err().to_string().contains("two labels"));
        assert!(pairs(&[], 10, 1).is_err());
    }

    #[test]
    fn what_is_measured_on_stands_beside_what_is_learnt() {
        let (train, dev) = (labels(&[3, 4]), labels(&[5, 5]));
        let all = beside(&train, &dev, 1_000, 1).unwrap();
        let both = [train.clone(), dev.clone()].concat();
        assert_eq!(all.len(), 20);
        check(&all, &both);
        assert!(all.iter().all(|pair| pair.first >= 7 && pair.second < 7));
        assert_eq!(beside(&train, &dev, 6, 1).unwrap().iter().map(|pair| pair.first).collect::<Vec<_>>(), [7, 7, 10, 10, 13, 13]);
        assert!(beside(&train, &[9], 6, 1).is_err());
    }
}
