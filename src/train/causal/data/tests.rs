//! Files of each kind, and which tokens are to be guessed.

use super::super::characters::Characters;
use super::*;
use std::io::Write;

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}\
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

fn file(folder: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A tokeniser of characters with the two marks of a template.
fn vocabulary(folder: &Path, texts: &[&str]) -> Vocabulary {
    Characters::of(texts.iter().copied()).unwrap().files(64).write(folder).unwrap();
    let path = folder.join("tokenizer.json");
    let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let count = document["model"]["vocab"].as_object().unwrap().len();
    for (i, mark) in ["<|im_start|>", "<|im_end|>"].into_iter().enumerate() {
        document["model"]["vocab"][mark] = (count + i).into();
        let mut token = document["added_tokens"][0].clone();
        token["content"] = mark.into();
        token["id"] = (count + i).into();
        document["added_tokens"].as_array_mut().unwrap().push(token);
    }
    std::fs::write(path, document.to_string()).unwrap();
    Vocabulary::open(folder).unwrap()
}

#[test]
fn files_are_read_by_what_they_hold() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| Source::read(&file(folder.path(), name, text));
    assert_eq!(read("a.txt", "one\ntwo\n").unwrap(), Source::Texts(vec!["one\ntwo\n".into()]));
    let lines = "{\"text\": \"one\"}\n\n{\"text\": \"two\"}\n";
    assert_eq!(read("a.jsonl", lines).unwrap(), Source::Texts(vec!["one".into(), "two".into()]));
    let chat = "{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";
    assert_eq!(read("b.jsonl", chat).unwrap(), Source::Chats(vec![vec![Message::new("user", "hi")]]));
    for (text, said) in [
        ("{\"text\": 1}", "line 1"),
        ("{\"text\": \"a\"}\n{", "line 2"),
        ("", "no lines"),
        ("{\"text\": \"a\"}\n{\"messages\": []}", "mixes"),
        ("{\"messages\": [{\"role\": 1}]}", "line 1"),
    ] {
        let error = format!("{:#}", read("c.jsonl", text).unwrap_err());
        assert!(error.contains(said), "{text}: {error}");
    }
    std::fs::write(folder.path().join("d.txt"), [0xff, 0xfe]).unwrap();
    assert!(format!("{:#}", Source::read(&folder.path().join("d.txt")).unwrap_err()).contains("UTF-8"));
    let mut packed = flate2::write::GzEncoder::new(
        std::fs::File::create(folder.path().join("e.txt.gz")).unwrap(),
        flate2::Compression::fast(),
    );
    packed.write_all("packed".as_bytes()).unwrap();
    packed.finish().unwrap();
    assert_eq!(Source::read(&folder.path().join("e.txt.gz")).unwrap(), Source::Texts(vec!["packed".into()]));
}

#[test]
fn the_last_tenth_is_measured_on() {
    let texts = |all: &[&str]| Source::Texts(all.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!(texts(&["äbcdefghij"]).split().unwrap(), (texts(&["äbcdefghi"]), texts(&["j"])));
    assert_eq!(texts(&["a", "b", "c"]).split().unwrap(), (texts(&["a", "b"]), texts(&["c"])));
    assert!(texts(&["a"]).split().is_err());
    assert!(Source::Chats(vec![vec![]]).split().is_err());
}

#[test]
fn of_a_conversation_the_answers_and_their_ends_are_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(folder.path(), &["user assistant system \n hello yes no ok <|im_end|>"]);
    let template = ChatTemplate::new(CHATML, serde_json::Map::new()).unwrap();
    let chat = ["user", "assistant", "user", "assistant"].into_iter().zip(["hello <|im_end|>", "yes", "no", "ok <|im_end|>"]);
    let chat: Vec<Message> = chat.map(|(role, content)| Message::new(role, content)).collect();
    let tokens = Source::Chats(vec![chat]).tokens(&vocabulary, Some(&template)).unwrap().remove(0);
    let end = vocabulary
        .encode(&crate::inference::template::Rendered::joined(&[("<|im_end|>", true)], vocabulary.controls()), false)
        .unwrap();
    let said: Vec<u32> = tokens.ids.iter().zip(&tokens.guessed).filter(|(_, guessed)| **guessed).map(|(id, _)| *id).collect();
    let plain = |text: &str| vocabulary.plain(text, false).unwrap();
    let newline = plain("\n");
    let want = [plain("yes"), end.clone(), newline.clone(), plain("ok <|im_end|>"), end.clone(), newline].concat();
    assert_eq!(said, want);
    // Of the four ends that the template writes none came out of a message.
    assert_eq!(tokens.ids.iter().filter(|id| **id == end[0]).count(), 4);
    assert_eq!(tokens.characters, "yes".len() + "ok <|im_end|>".len());
    let targets = tokens.targets();
    assert_eq!(targets.len(), tokens.ids.len());
    let after = targets.iter().position(|target| *target != IGNORED).unwrap();
    assert_eq!((targets[after], tokens.ids[after]), (plain("y")[0], plain("\n")[0]));
}

#[test]
fn conversations_without_an_answer_or_a_template_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(folder.path(), &["user assistant \n hello 123"]);
    let template = ChatTemplate::new(CHATML, serde_json::Map::new()).unwrap();
    let chats = |roles: &[&str]| Source::Chats(vec![roles.iter().map(|role| Message::new(role, "hello")).collect()]);
    let refused =
        |source: Source, template: Option<&ChatTemplate>| format!("{:#}", source.tokens(&vocabulary, template).unwrap_err());
    assert!(refused(chats(&["user"]), Some(&template)).contains("conversation 1: it has no message of the assistant"));
    assert!(refused(chats(&["assistant"]), Some(&template)).contains("conversation 1"));
    assert!(refused(chats(&["user", "assistant"]), None).contains("no chat template"));
    // A template that writes an answer otherwise when more follows has no place where the answer begins.
    let strange = "{% for m in messages %}{{ messages|length }}{{ m['content'] }}{% endfor %}";
    let strange = ChatTemplate::new(strange, serde_json::Map::new()).unwrap();
    assert!(refused(chats(&["user", "assistant", "user"]), Some(&strange)).contains("message 2"));
}

#[test]
fn of_a_text_all_but_the_first_token_is_guessed() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = vocabulary(folder.path(), &["äb"]);
    let tokens = Source::Texts(vec!["äbä".into()]).tokens(&vocabulary, None).unwrap().remove(0);
    assert_eq!((tokens.guessed, tokens.characters), (vec![false, true, true], 2));
    assert_eq!(tokens.ids, [3, 2, 3]);
}
