//! What stands before texts that become vectors.

use super::too_long::{long, numbers};
use super::{ask, bare, fixture, function, refused};
use crate::function::embed::Embed;
use crate::function::options::TooLong;
use crate::function::vectors::{Reading, prompted};
use serde_json::{Value, json};
use std::sync::Arc;

/// Would catch: a default prompt that is not read, or one that stands where another or none is asked for.
#[tokio::test]
async fn the_default_prompt_of_a_folder_stands_before_texts() {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("fill")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let config = json!({ "prompts": { "query": "a bad ", "other": "London " }, "default_prompt_name": "query" });
    std::fs::write(folder.path().join("config_sentence_transformers.json"), config.to_string()).unwrap();
    let (own, plain) = (super::open(folder.path()), super::open(&fixture("fill")));
    let embed = async |encoder: &Arc<crate::inference::Encoder>, options: Value, text: &str| {
        let embed = Embed::new(encoder.clone()).with(options.as_object().unwrap()).unwrap();
        numbers(&ask(&embed, &[json!(text)]).await.remove(0)["embedding"])
    };
    let wanted = embed(&plain, json!({ "prompt": "a bad " }), "good film").await;
    assert_ne!(wanted, embed(&plain, json!({}), "good film").await);
    assert_eq!(embed(&own, json!({}), "good film").await, wanted);
    assert_eq!(numbers(&ask(&Embed::new(own.clone()), &[json!("good film")]).await[0]["embedding"]), wanted);
    for (options, text) in [
        (json!({ "prompt": "" }), "good film"),
        (json!({ "prompt_name": "other" }), "London good film"),
        (json!({ "prompt": "so " }), "so good film"),
    ] {
        assert_eq!(embed(&own, options.clone(), "good film").await, embed(&plain, json!({}), text).await, "{options}");
    }
    let compared = json!({ "source_sentence": "good film", "sentences": ["so a river", "London"] });
    let similar =
        async |folder: &std::path::Path, options: Value| bare(&*function("similar", folder, options), &compared, json!({})).await;
    let by_default = similar(folder.path(), json!({})).await;
    assert_eq!(by_default, similar(&fixture("fill"), json!({ "prompt": "a bad " })).await);
    assert_ne!(by_default, similar(folder.path(), json!({ "prompt": "" })).await);
}

/// Would catch: windows behind the first one that have no prompt, or more tokens than the model sees; a text that the model sees whole with
/// its prompt and that is divided.
#[tokio::test]
async fn each_window_has_the_prompt() {
    let encoder = super::open(&fixture("fill"));
    let how = Reading { prompt: "a bad ".to_owned(), ..Reading::plain(TooLong::Window, Some(10)) };
    let alone = |text: &str| encoder.tokenizer().plain(text, 1_000).unwrap().0;
    let prompt = alone("a bad ");
    let tokens = async |text: String| {
        let found = prompted::windows(&encoder, vec![format!("{}{text}", how.prompt)], &how).await.unwrap();
        found.into_iter().next().unwrap().unwrap()
    };
    let (text, inner) = (long(), |ids: &[u32]| ids[1..ids.len() - 1].to_vec());
    let windows = tokens(text.clone()).await;
    assert!(windows.len() > 3);
    let mut read: Vec<u32> = Vec::new();
    for window in &windows {
        assert!(window.ids.len() <= 64 && [window.types.len(), window.sides.len()] == [window.ids.len(); 2]);
        let ids = inner(&window.ids);
        assert_eq!(ids[..prompt.len()], prompt);
        let overlap = if read.is_empty() { 0 } else { 10 };
        read.extend(&ids[prompt.len() + overlap..]);
    }
    assert_eq!(read, alone(&text), "all of the text, in order");
    // As many as the model sees with its prompt and two special tokens.
    let full = "a ".repeat(62 - prompt.len());
    assert_eq!((tokens(full.clone()).await.len(), tokens(full + "a").await.len()), (1, 2));
    let error = refused("similar", &fixture("fill"), json!({ "prompt": "a ".repeat(40), "too_long": "window" }));
    assert!(error.contains("more than 32 tokens"), "{error}");
    let error = refused("rerank", &fixture("fill"), json!({ "text_prompt": "a ".repeat(40), "too_long": "window" }));
    assert!(error.contains("more than 32 tokens"), "{error}");
}
