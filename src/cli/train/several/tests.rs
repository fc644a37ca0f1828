use super::*;
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn parsed(more: &[&str]) -> Result<Options, String> {
    let line = ["several", "--from", "base", "--out", "models/ours"].iter().chain(more);
    Line::try_parse_from(line).map(|line| line.options).map_err(|error| error.to_string())
}

/// Would catch: a task that is written over another's folder, an option that is for nobody and is passed over in silence.
#[test]
fn what_is_said_of_no_task_or_of_two_is_refused() {
    let refused = |more: &[&str]| match parsed(more) {
        Ok(options) => options.check().unwrap_err().to_string(),
        Err(refused) => refused,
    };
    for (more, words) in [
        (&[][..], "--task <NAME=FILE>"),
        (&["--task", "rows.csv"], "write its name and = before it"),
        (&["--task", "a/b=rows.csv"], "cannot be the name of a task"),
        (&["--task", "=rows.csv"], "cannot be the name of a task"),
        (&["--task", "..=rows.csv"], "cannot be the name of a task"),
        (&["--task", "a="], "nothing stands behind a="),
        (&["--task", "a=1.csv", "--task", "b=2.csv", "--task", "A=3.csv"], "two tasks have the name a;"),
        (&["--task", "Encoder=1.csv"], "cannot have the name Encoder"),
        (&["--task", "runs=1.csv"], "cannot have the name runs"),
        (&["--task", "a=1.csv", "--dev", "b=2.csv"], "--dev is for a task b, but the tasks are a"),
        (
            &["--task", "a=1.csv", "--label-names", "a=x,y", "--label-names", "a=y,x"],
            "--label-names is given twice for the task a",
        ),
        (&["--task", "a=1.csv", "--kind", "a=answer"], "it is label, labels, score or tag"),
        (&["--task", "a=1.csv", "--lr", "0"], "--lr must be above 0"),
        (&["--task", "a=1.csv", "--max-tokens", "3"], "--max-tokens must be 4"),
    ] {
        let said = refused(more);
        assert!(said.contains(words), "{more:?}: {said}");
    }
}

/// Would catch: an option of one task that reaches another, a card with the places where files lay.
#[test]
fn each_task_has_its_own_options_and_the_card_the_whole_command() {
    let more = "--task intent=/data/a.csv --task mood=b.tsv --dev mood=/data/c.tsv --label-names mood=bad,good \
                --text-column intent=body --kind intent=labels --epochs 3 --tune-layers 2 --seed 7 --int8";
    let options = parsed(&more.split_whitespace().collect::<Vec<_>>()).unwrap();
    options.check().unwrap();
    let [intent, mood] = [0, 1].map(|i| options.args(&options.tasks[i], options.kind(&options.tasks[i].task).unwrap()));
    assert_eq!((intent.task, intent.dev, intent.text_column.as_deref()), (Some(Task::Labels), None, Some("body")));
    assert_eq!((mood.task, mood.dev.unwrap().to_str(), mood.text_column), (None, Some("/data/c.tsv"), None));
    assert_eq!((mood.label_names, mood.out.to_str()), (vec!["bad".to_owned(), "good".to_owned()], Some("models/ours/mood")));
    assert!(intent.label_names.is_empty() && intent.training.epochs == Some(3) && intent.training.seed == Some(7));
    let want = "millrace train several --from base --task intent=a.csv --task mood=b.tsv --dev mood=c.tsv --out ours --kind intent=labels \
                --text-column intent=body --label-names mood=bad,good --epochs 3 --lr 0.00007 --batch 32 --weight-decay 0.01 --seed 7 \
                --tune-layers 2 --int8";
    assert_eq!(options.shown(), want);
}

/// Would catch: a head of pairs, of several labels or of numbers for which no comparison is named though a command does it, or one that does
/// not find its columns.
#[test]
fn each_head_names_the_command_that_compares_it() {
    let more = "--task intent=a.csv --task mood=b.tsv --dev mood=/data/c.tsv --label-names mood=bad,good \
                --text-column intent=premise,hypothesis --label-column intent=gold";
    let options = parsed(&more.split_whitespace().collect::<Vec<_>>()).unwrap();
    let of = |task: usize, kind: Task| compared(&options.args(&options.tasks[task], None), kind, &options.tasks[task].task);
    let pairs = "millrace eval classify --model ours/intent --against ALONE --input ROWS --text-column premise,hypothesis --label-column gold";
    for kind in [Task::Label, Task::Labels, Task::Score] {
        assert_eq!(of(0, kind).as_deref(), Some(pairs), "{kind:?}");
    }
    let plain = "millrace eval classify --model ours/mood --against ALONE --input c.tsv";
    assert_eq!(of(1, Task::Label).unwrap(), format!("{plain} --label-names bad,good"));
    assert_eq!((of(1, Task::Score).as_deref(), of(1, Task::Labels), of(1, Task::Answer)), (Some(plain), None, None));
    assert!(parsed(&["--task", "place=d.conll"]).is_ok_and(|options| {
        let command = compared(&options.args(&options.tasks[0], None), Task::Tag, "place");
        command.as_deref() == Some("millrace eval tag --model ours/place --against ALONE --input ROWS")
    }));
}
