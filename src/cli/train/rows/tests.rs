use super::*;
use std::fmt::Write;

/// What reading a file says, or why it is refused.
fn told(args: &Args, read: fn(&Args, &mut Report) -> Result<Data>) -> Result<String, String> {
    let mut report = Report::default();
    read(args, &mut report).map(|_| report.lines().join("\n")).map_err(|error| format!("{error:#}"))
}

fn file(folder: &tempfile::TempDir, name: &str, header: &str, row: impl Fn(usize) -> String) -> std::path::PathBuf {
    let mut content = format!("{header}\n");
    (0..40).for_each(|i| writeln!(content, "{}", row(i)).unwrap());
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

/// Would catch: the weights of the first measurement kept since nothing correlates with what does not differ.
#[test]
fn numbers_to_measure_on_differ_or_the_error_counts() {
    let folder = tempfile::tempdir().unwrap();
    let text = |i: usize| format!("text {i}");
    let varied = file(&folder, "varied.csv", "text,score", |i| format!("{},{i}.5", text(i)));
    let same = file(&folder, "same.csv", "text,score", |i| format!("{},3.5", text(100 + i)));
    let args = Args { train: varied.clone(), dev: Some(same), ..Args::default() };
    let refused = told(&args, Data::read_scores).unwrap_err();
    assert!(refused.contains("same.csv: 40 rows to measure on") && refused.contains("--dev"), "{refused}");
    let sound = Args { dev: Some(varied.clone()), ..args.clone() };
    assert!(!told(&sound, Data::read_scores).unwrap().contains("squared error"));
    // Of many rows two are measured on.
    assert!(told(&Args { dev_rows: Some(2), ..sound }, Data::read_scores).unwrap_err().contains("2 rows to measure on"));
    // What our own part has is no fault of the file.
    let own = file(&folder, "own.csv", "text,score", |i| {
        format!("{},{}", text(i), if split::is_measured(&text(i), 0.1) { "1.5".to_owned() } else { format!("{i}.5") })
    });
    let said = told(&Args { train: own, dev: None, ..args }, Data::read_scores).unwrap();
    assert!(said.contains("those of the least squared error"), "{said}");
}

/// Would catch: a model that knows one label, and always says it.
#[test]
fn one_label_is_no_task() {
    let folder = tempfile::tempdir().unwrap();
    let one = file(&folder, "one.csv", "text,label", |i| format!("text {i},{}", if i % 2 == 0 { "spam" } else { "" }));
    let refused = told(&Args { train: one, ..Args::default() }, Data::read_lists).unwrap_err();
    for words in ["one label only, \"spam\"", "\"other\"", "--task label"] {
        assert!(refused.contains(words), "{words}: {refused}");
    }
    let two = file(&folder, "two.csv", "text,label", |i| format!("text {},{}", i / 2, ["a|b", "b | a"][i % 2]));
    let said = told(&Args { train: two, ..Args::default() }, Data::read_lists).unwrap();
    assert!(said.starts_with("texts from text, label from label\n") && !said.contains("another label"), "{said}");
}

/// Would catch: single texts that are refused for a second column that holds nothing, an error that does not say what to do.
#[test]
fn a_second_text_is_there_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, second: fn(usize) -> &'static str| {
        let label = |i: usize| ["x", "y"][i % 2];
        let train = file(&folder, name, "text,text_pair,label", |i| format!("text {i},{},{}", second(i), label(i)));
        told(&Args { train, ..Args::default() }, Data::read)
    };
    let said = read("none.csv", |_| "").unwrap();
    assert!(said.contains("text_pair is empty in all rows"), "{said}");
    let refused = read("some.csv", |i| if i == 7 { "" } else { "b" }).unwrap_err();
    assert!(
        refused.contains("some.csv line 9: of two texts text_pair is empty") && refused.contains("--text-column text"),
        "{refused}"
    );
}
