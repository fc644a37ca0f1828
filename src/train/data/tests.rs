//! Rows of each kind of file, and which columns they are from.

use super::*;
use std::io::Write;

#[test]
fn numbers_are_sorted_as_such() {
    let of = |names: &[&str]| {
        let rows: Vec<Row> =
            names.iter().map(|label| Row { text: String::new(), pair: None, label: (*label).into(), line: 1 }).collect();
        labels(&rows)
    };
    assert_eq!(of(&["10", "2", "-1", "2"]), ["-1", "2", "10"]);
    assert_eq!(of(&["10", "2", "x"]), ["10", "2", "x"]);
}

#[test]
fn columns_are_guessed_in_any_order_and_gz_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("a.tsv");
    std::fs::write(&plain, "label\tcontent\n1\tsays \"fine\n").unwrap();
    let packed = folder.path().join("b.csv.gz");
    let mut out = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
    out.write_all(b"Sentence,Label\n\"a, b\",0\n").unwrap();
    out.finish().unwrap();
    let row = |text: &str, label: &str| Row { text: text.into(), pair: None, label: label.into(), line: 2 };
    assert_eq!(rows(&plain, &Columns::default()).unwrap(), [row("says \"fine", "1")]);
    assert_eq!(rows(&packed, &Columns::default()).unwrap(), [row("a, b", "0")]);
    // Texts alone need no labels.
    let bare = folder.path().join("c.csv");
    std::fs::write(&bare, "text\n\"a, b\"\n").unwrap();
    assert_eq!(texts(&bare, &Columns::default()).unwrap(), ["a, b"]);
    assert!(rows(&bare, &Columns::default()).unwrap_err().to_string().contains("--label-column"));
    let wrong = Columns { text: Some("body".into()), label: None };
    assert!(rows(&plain, &wrong).unwrap_err().to_string().contains("--text-column"));
}

#[test]
fn objects_give_rows_and_their_lists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let write = |content: &str| std::fs::write(&path, content).unwrap();
    write("{\"text\": \"a\", \"label\": 3}\n\n{\"content\": \"b\", \"labels\": [\"y\", \"x\", \"y\"]}\n");
    let found = rows(&path, &Columns::default()).unwrap();
    assert_eq!(found[0], Row { text: "a".into(), pair: None, label: "3".into(), line: 1 });
    assert_eq!((found[1].line, list(&path, &found[1]).unwrap()), (3, vec!["x".to_owned(), "y".to_owned()]));
    let plain = || texts(&path, &Columns::default());
    assert_eq!(plain().unwrap(), ["a", "b"]);
    let of = |label: &str| list(&path, &Row { text: "t".into(), pair: None, label: label.into(), line: 7 });
    assert_eq!(of("b | a").unwrap(), ["a", "b"]);
    assert_eq!(of("").unwrap(), Vec::<String>::new());
    for label in ["a||b", "[1, {}]", "[\"a\"", "[\"\"]"] {
        assert!(format!("{:#}", of(label).unwrap_err()).contains("a.jsonl line 7"), "{label}");
    }
    let refused = |content: &str| {
        write(content);
        format!("{:#}", rows(&path, &Columns::default()).unwrap_err())
    };
    assert!(refused("{\"text\": \"a\", \"label\": 1}\n[1]\n").contains("line 2"));
    assert!(refused("{\"text\": 1, \"label\": 1}\n").contains("line 1"));
    assert!(refused("{\"body\": \"a\", \"label\": 1}\n").contains("--text-column"));
}

/// Would catch: a second text that is passed over in silence, a row without one that is read as a pair.
#[test]
fn two_texts_are_found_by_the_names_that_public_data_has() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, content: &str, text: Option<&str>| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let columns = Columns { text: text.map(str::to_owned), label: None };
        let all = texts(&path, &columns).map_err(|error| format!("{error:#}"));
        (rows(&path, &columns).map_err(|error| format!("{error:#}")), all)
    };
    for names in ["premise,hypothesis", "Sentence1,sentence2", "question,sentence", "question1,question2", "text_a,text_b"] {
        let (rows, texts) = read("a.csv", &format!("id,{names},label\n7,a,b,x\n"), None);
        assert_eq!(rows.unwrap()[0].key(), ("a", Some("b")), "{names}");
        assert_eq!(texts.unwrap(), ["a", "b"]);
    }
    let pair = "{\"text\": \"a\", \"text_pair\": \" b \", \"label\": 1}\n";
    assert_eq!(read("a.jsonl", pair, None).0.unwrap()[0].key(), ("a", Some("b")));
    // One of two, or others than the usual ones, where somebody says so.
    assert_eq!(read("a.jsonl", pair, Some("text")).0.unwrap()[0].key(), ("a", None));
    let (rows, texts) = read("a.tsv", "title\tbody\tlabel\na\tb\tx\n", Some("body, title"));
    assert_eq!((rows.unwrap()[0].key(), texts.unwrap()), (("b", Some("a")), vec!["b".to_owned(), "a".to_owned()]));
    assert_eq!(read("b.csv", "\"a,b\",label\nc,x\n", Some("a,b")).0.unwrap()[0].key(), ("c", None));
    for single in ["null", "3"] {
        let lines = format!("{pair}\n{{\"text\": \"c\", \"text_pair\": {single}, \"label\": 1}}\n");
        let refused = read("a.jsonl", &lines, None).0.unwrap_err();
        assert!(refused.contains("line 3"), "{refused}");
    }
    assert!(read("a.tsv", "title\tbody\tlabel\na\tb\tx\n", Some("body,head")).0.unwrap_err().contains("--text-column"));
}

/// Would catch: a file of single texts that is refused for a column that is there and holds nothing, a guess that nobody hears of.
#[test]
fn which_columns_are_taken_is_said_and_an_empty_second_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, content: &str, columns: &Columns| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let (rows, taken) = read(&path, columns).map_err(|error| format!("{error:#}"))?;
        Ok::<_, String>((rows.iter().all(|row| row.pair.is_some()), taken.said()))
    };
    let plain = Columns::default();
    for (name, content, want) in [
        ("a.csv", "text,label\na,x\n", (false, "texts from text, label from label")),
        ("a.csv", "Text,sentiment,score\na,x,1\n", (false, "texts from Text, label from score; not read: sentiment")),
        (
            "a.tsv",
            "id\tsentence1\tsentence2\ttext\tlabel\n1\ta\tb\tc\tx\n",
            (true, "texts from sentence1 and sentence2, label from label; passed over: text; not read: id"),
        ),
        (
            "a.jsonl",
            "{\"content\": \"a\", \"category\": \"x\", \"stars\": 3}\n",
            (false, "texts from content, label from category; passed over: stars"),
        ),
        (
            "a.csv",
            "text,text_pair,label\na,,x\nb,,y\n",
            (false, "texts from text, label from label; text_pair is empty in all rows, and no second text"),
        ),
        (
            "b.jsonl",
            "{\"text\": \"a\", \"text_pair\": \"\", \"label\": 1}\n{\"text\": \"a\", \"text_pair\": null, \"label\": 1}\n",
            (false, "texts from text, label from label; text_pair is empty in all rows, and no second text"),
        ),
    ] {
        let found = of(name, content, &plain).unwrap();
        assert_eq!((found.0, found.1.as_str()), want, "{content}");
    }
    let asked = Columns { text: Some("body".into()), label: Some("gold".into()) };
    let found = of("c.csv", "text,label,gold,body\na,x,y,b\n", &asked).unwrap();
    assert_eq!(found.1, "texts from body, label from gold; not read: text, label");
    // Where somebody asks for both, one that is empty is no other.
    let both = Columns { text: Some("text,text_pair".into()), label: None };
    assert!(of("a.csv", "text,text_pair,label\na,,x\n", &both).unwrap().0);
    let wide: String = (0..12).map(|i| format!("column{i},")).collect();
    let said = of("d.csv", &format!("{wide}text,label\n{}a,x\n", ",".repeat(12)), &plain).unwrap().1;
    assert!(
        said.ends_with("not read: column0, column1, column2, column3, column4, column5, column6, column7 and 4 more"),
        "{said}"
    );
}
