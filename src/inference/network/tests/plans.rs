//! Networks that work out less when they are loaded say the same.

use super::files::{FOLDERS, fixture, write};
use crate::inference::checkpoint::ModelConfig;
use crate::inference::network::{Plan, Scratch, Sequence, load_by};
use crate::inference::weights::Weights;

/// Would catch: a scale that is lost, or meets the keys; a part that lands among another's columns.
#[test]
fn every_plan_says_the_same_to_1e_5() {
    let plans = [(true, true), (true, false), (false, true), (false, false)].map(|(folded, joined)| Plan { folded, joined });
    for folder in FOLDERS {
        let (fixture, place) = (fixture(folder), tempfile::tempdir().unwrap());
        write(place.path(), folder, "hidden", &fixture.cases[0].config);
        let (config, weights) = (ModelConfig::open(place.path()).unwrap(), Weights::open(place.path(), None).unwrap());
        let tensors = weights.tensors().unwrap();
        let texts: Vec<Sequence<'_>> = fixture.inputs.iter().map(|input| input.sequence()).collect();
        let run = |plan: Plan, texts: &[Sequence<'_>]| {
            let mut scratch = Scratch::default();
            load_by(plan, &config, &tensors).unwrap().encode(texts, &mut scratch).unwrap();
            scratch.x
        };
        let one = Sequence { ids: &texts[0].ids[..1], types: &[] };
        for texts in [&texts[..], &[one]] {
            let usual = run(plans[0], texts);
            for plan in &plans[1..] {
                let found = run(*plan, texts);
                assert_eq!(found.len(), usual.len());
                let worst = usual.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(worst < 1e-5, "{folder}, {plan:?}: {worst}");
            }
        }
    }
}
