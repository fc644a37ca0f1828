use super::*;
use crate::train::fit::{Fit, Plan};
use crate::train::keep::Keep;
use crate::train::learner::{Dev, Learner};
use crate::train::measure;
use crate::train::network::tests::{drawn_with, tiny_with};
use crate::train::network::{Network, Tuning};
use crate::train::ops::tests::check_shape;
use crate::train::trainable::Trainable;

fn example(ids: &[u32], target: Target) -> Example {
    Example { ids: ids.into(), types: vec![], target }
}

fn taught(logits: Vec<Vec<f32>>, temperature: f64, hard_weight: f64) -> Taught {
    Taught { logits, temperature, hard_weight, digest: "d".into() }
}

fn cost(taught: &Taught, task: Task, logits: &Tensor, examples: &[Example]) -> Tensor {
    let examples: Vec<&Example> = examples.iter().collect();
    let numbers: Vec<usize> = (0..examples.len()).collect();
    taught.loss(task, logits, &Batch::of(&examples), &examples, &numbers).unwrap()
}

fn number(tensor: &Tensor) -> f64 {
    f64::from(tensor.to_scalar::<f32>().unwrap())
}

/// By hand, over the definitions. Would catch: a temperature on one side alone, a lost T², a weight on the wrong part, a mean over other
/// things than the loss on labels has.
#[test]
fn the_loss_is_its_formula() {
    let (t, a) = (2.0, 0.3);
    let (student, teacher) = ([[1.0f32, -0.5, 0.2], [0.0, 2.0, 1.0]], vec![vec![2.0f32, 0.0, -1.0], vec![-1.0, 0.5, 0.5]]);
    let power = |x: f32| (f64::from(x) / t).exp();
    let share = |row: &[f32], i: usize| power(row[i]) / row.iter().map(|x| power(*x)).sum::<f64>();
    let kl = |of: usize| -> f64 {
        (0..3).map(|i| share(&teacher[of], i) * (share(&teacher[of], i) / share(&student[of], i)).ln()).sum()
    };
    let plain = |row: &[f32], i: usize| f64::from(row[i]).exp() / row.iter().map(|x| f64::from(*x).exp()).sum::<f64>();
    let logits = Tensor::new(&student, &Device::Cpu).unwrap();
    let one = taught(teacher.clone(), t, a);
    let examples = [example(&[1], Target::Label(0)), example(&[1], Target::Label(2))];
    let hard = -(plain(&student[0], 0).ln() + plain(&student[1], 2).ln()) / 2.0;
    let want = a * hard + (1.0 - a) * t * t * (kl(0) + kl(1)) / 2.0;
    assert!((number(&cost(&one, Task::Label, &logits, &examples)) - want).abs() < 1e-5);
    // The second text has no label.
    let examples = [example(&[1], Target::Label(0)), example(&[1], Target::Unknown)];
    let want = a * -plain(&student[0], 0).ln() / 2.0 + (1.0 - a) * t * t * (kl(0) + kl(1)) / 2.0;
    assert!((number(&cost(&one, Task::Label, &logits, &examples)) - want).abs() < 1e-5);

    let yes = |x: f32| 1.0 / (1.0 + (-f64::from(x) / t).exp());
    let binary = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    let pairs = teacher.iter().flatten().zip(student.iter().flatten());
    let soft = pairs.map(|(t, s)| binary(yes(*t), yes(*s))).sum::<f64>() / 6.0;
    let unknown = [example(&[1], Target::Unknown), example(&[1], Target::Unknown)];
    let got = number(&cost(&one, Task::Labels, &logits, &unknown));
    assert!((got - (1.0 - a) * t * t * soft).abs() < 1e-5, "{got}");
    // A student that says the same costs nothing.
    for task in [Task::Label, Task::Labels] {
        let same = taught(student.iter().map(|row| row.to_vec()).collect(), t, a);
        assert!(number(&cost(&same, task, &logits, &unknown)).abs() < 1e-6);
    }
}

/// Would catch: a gradient of the wrong size or sign in any form of the loss, mixed batches too.
#[test]
fn gradients_equal_finite_differences() {
    let said = |rows: usize, outputs: usize| -> Vec<Vec<f32>> {
        (0..rows).map(|i| (0..outputs).map(|j| ((i * 5 + j * 3) % 7) as f32 * 0.6 - 1.5).collect()).collect()
    };
    let spread = |x: Tensor, dims: (usize, usize)| x.reshape((1, 1)).unwrap().broadcast_as(dims).unwrap();
    let mixed = [example(&[1], Target::Label(3)), example(&[1], Target::Unknown), example(&[1], Target::Label(1))];
    let lists =
        [example(&[1], Target::Labels(vec![0, 2])), example(&[1], Target::Unknown), example(&[1], Target::Labels(vec![]))];
    let tags = [
        example(&[1; 2], Target::Tags(vec![None, Some(1)])),
        example(&[1; 4], Target::Tags(vec![Some(0), None, Some(1), Some(0)])),
    ];
    for hard in [0.0, 0.4] {
        check_shape(&[3, 4], |x| spread(cost(&taught(said(3, 4), 2.5, hard), Task::Label, x, &mixed), (3, 4)));
        check_shape(&[3, 4], |x| spread(cost(&taught(said(3, 4), 2.5, hard), Task::Labels, x, &lists), (3, 4)));
        // Two of the second text's tokens more than the first has; of the 8 rows 2 are padding, which 12 numbers leave out.
        let words = taught(vec![said(1, 4).concat(), said(1, 8).concat()], 2.5, hard);
        check_shape(&[12], |x| {
            let padded = Tensor::cat(
                &[&x.narrow(0, 0, 4).unwrap(), &Tensor::zeros(4, x.dtype(), x.device()).unwrap(), &x.narrow(0, 4, 8).unwrap()],
                0,
            );
            let cost = cost(&words, Task::Tag, &padded.unwrap().reshape((8, 2)).unwrap(), &tags);
            cost.reshape(1).unwrap().broadcast_as(12).unwrap()
        });
    }
}

/// Texts of two kinds; the labels of the file say nothing.
fn texts(target: impl Fn(u32) -> Target) -> Vec<Example> {
    (0..24).map(|i| example(&[1, 3 + i % 8, if i.is_multiple_of(2) { 12 } else { 13 }, 2], target(i))).collect()
}

fn said(network: &Network, examples: &[Example]) -> Vec<Vec<f32>> {
    measure::logits(network, examples).unwrap()
}

/// A teacher that answers by its own head, whatever that is.
fn teacher(task: Task) -> Network {
    let network = tiny_with(task, 2, &Tuning { seed: 5, ..Tuning::default() });
    // A head as it is drawn says nearly the same of every text.
    let head = &network.parameters[&format!("{}.weight", task.out())];
    head.set(&head.as_tensor().affine(60.0, 0.0).unwrap()).unwrap();
    network
}

/// Would catch: a teacher that is not listened to, texts without labels that pull at nothing, answers of other texts.
#[test]
fn texts_without_labels_teach_a_student_its_teachers_decisions() {
    for task in [Task::Label, Task::Labels] {
        let train = texts(|_| Target::Unknown);
        // Surer of some texts than of others.
        let logits = (0..24).map(|i| (2.0 + (i % 5) as f32 * 0.5, i % 2));
        let logits = logits.map(|(sure, kind)| match (task, kind) {
            (Task::Label, 0) => vec![sure, 0.0],
            (Task::Label, _) => vec![0.0, sure],
            (_, 0) => vec![sure, sure],
            _ => vec![-sure, -sure],
        });
        let one = taught(logits.collect(), 2.0, 0.5);
        let dev = texts(|i| match task {
            Task::Label => Target::Label(i % 2),
            _ => Target::Labels(if i % 2 == 0 { vec![0, 1] } else { vec![] }),
        });
        let student = drawn_with(task, 2, &Tuning { tables: true, ..Tuning::default() });
        let learner = learner(&student, &train, &dev, Some(&one));
        assert_eq!(learner.score(&one.logits), 1.0);
        let before = learner.measure().unwrap();
        let plan = Plan { epochs: 70, rate: 1.5e-2, batch: 24, checks: 1, ..Plan::default() };
        let fitted = Fit::new(&learner, &plan).run().unwrap();
        assert!(fitted.best > 0.95 && before < 0.8, "{task:?}: {before} to {}", fitted.best);
    }
}

fn learner<'a>(network: &'a Network, train: &'a Vec<Example>, dev: &'a [Example], teacher: Option<&'a Taught>) -> Learner<'a> {
    Learner { network, train, dev: Dev::Examples(dev), labels: &[], blank: None, teacher, class_weights: None, seed: 1 }
}

/// Would catch: a run that goes on with another teacher, another temperature or other texts.
#[test]
fn a_teacher_is_part_of_a_run_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (train, plan) = (
        texts(|i| if i < 12 { Target::Label(i % 2) } else { Target::Unknown }),
        Plan { epochs: 3, batch: 8, checks: 1, ..Plan::default() },
    );
    let dev = texts(|i| Target::Label(i % 2));
    let one = taught(said(&teacher(Task::Label), &train), 2.0, 0.5);
    let fresh = || drawn_with(Task::Label, 2, &Tuning { tables: true, ..Tuning::default() });
    let weights = |network: &Network| network.state().unwrap()["classifier.weight"].to_vec2::<f32>().unwrap();
    let whole = fresh();
    Fit::new(&learner(&whole, &train, &dev, Some(&one)), &plan).run().unwrap();

    let fingerprint = |teacher: Option<&Taught>| learner(&fresh(), &train, &dev, teacher).fingerprint(&plan).unwrap();
    let mut others = vec![fingerprint(Some(&one)), fingerprint(None)];
    let mut changed = one.clone();
    changed.logits[20][0] += 0.5;
    for other in [
        Taught { temperature: 3.0, ..one.clone() },
        Taught { hard_weight: 0.4, ..one.clone() },
        Taught { digest: "e".into(), ..one.clone() },
        changed,
    ] {
        others.push(fingerprint(Some(&other)));
    }
    assert!((1..others.len()).all(|i| !others[..i].contains(&others[i])), "{others:?}");

    let keep = Keep::new(folder.path(), fingerprint(Some(&one)));
    let cut = fresh();
    let stop = || true;
    let stopped = Fit::new(&learner(&cut, &train, &dev, Some(&one)), &plan).kept(&keep).stopped(&stop).run();
    assert!(stopped.is_err());
    let again = fresh();
    Fit::new(&learner(&again, &train, &dev, Some(&one)), &plan).kept(&keep).run().unwrap();
    assert_eq!(weights(&whole), weights(&again));
}
