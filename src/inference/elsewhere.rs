//! What a folder holds that is no model here, and what to do with it; and files that only stand for others.

use serde_json::Value;
use std::path::Path;

/// How a file begins that Git LFS has put in the place of another.
const POINTER: &[u8] = b"version https://git-lfs";

/// What is wrong with a file that is a pointer of Git LFS.
pub fn pointer(bytes: &[u8]) -> Option<String> {
    let cause =
        "it is a pointer of Git LFS, not the file itself; fetch the file with `git lfs pull` in its repository, or download it";
    bytes.starts_with(POINTER).then(|| cause.to_owned())
}

/// What a folder is that lacks a file of a model.
pub fn instead(folder: &Path) -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| name(&entry.path())).collect();
    names.sort();
    let ends = |end: &str| names.iter().find(|name| name.ends_with(end));
    if names.is_empty() {
        return Some(
            "the folder is empty; a model is config.json, model.safetensors and a tokeniser (tokenizer.json)".to_owned(),
        );
    }
    if names.iter().any(|name| name == ADAPTER) {
        return Some(adapter(folder));
    }
    if let Some(gguf) = ends(".gguf") {
        let file = folder.join(gguf);
        return Some(format!(
            "{gguf} is a file of llama.cpp; make a model folder of it: millrace models import {} DIR",
            file.display()
        ));
    }
    let convert = "load it in transformers where it was made, save it with save_pretrained, and name that folder";
    for (end, of) in [(".h5", "TensorFlow"), (".msgpack", "Flax")] {
        if let Some(weights) = ends(end) {
            return Some(format!("its weights are there only as {weights}, a file of {of}; {convert}"));
        }
    }
    let below =
        |of: &str| std::fs::read_dir(folder.join(of)).into_iter().flatten().flatten().map(|entry| name(&entry.path())).min();
    let onnx = ends(".onnx").cloned().or_else(|| Some(format!("onnx/{}", below("onnx").filter(|name| name.ends_with(".onnx"))?)));
    if let Some(onnx) = onnx {
        return Some(format!(
            "its weights are there only as {onnx}, and ONNX is not read; take model.safetensors and config.json of the model that it was \
             made from"
        ));
    }
    if names.iter().any(|name| name == "config.json") {
        return None;
    }
    let inner = names.iter().find(|name| folder.join(name).join("config.json").is_file())?;
    Some(format!("the folder is no model, and {} is one; name that", folder.join(inner).display()))
}

const ADAPTER: &str = "adapter_config.json";

fn adapter(folder: &Path) -> String {
    let config = std::fs::read(folder.join(ADAPTER)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let said = |key: &str| config.as_ref()?.get(key)?.as_str().map(str::to_owned);
    let base = said("base_model_name_or_path").map_or_else(|| "a model".to_owned(), |base| format!("`{base}`"));
    let class = match said("task_type").as_deref() {
        Some("CAUSAL_LM") => "AutoPeftModelForCausalLM",
        Some("SEQ_CLS") => "AutoPeftModelForSequenceClassification",
        Some("SEQ_2_SEQ_LM") => "AutoPeftModelForSeq2SeqLM",
        Some("TOKEN_CLS") => "AutoPeftModelForTokenClassification",
        Some("QUESTION_ANS") => "AutoPeftModelForQuestionAnswering",
        _ => "AutoPeftModel",
    };
    format!(
        "it is an adapter of {base} and no model; merge the two in Python (peft.{class}.from_pretrained(FOLDER).merge_and_unload()\
         .save_pretrained(OTHER)), put the tokeniser there, and name that folder"
    )
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::checkpoint::ModelConfig;
    use crate::inference::generate::Writer;
    use crate::inference::{Encoder, Options, causal};
    use std::path::PathBuf;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// A copy of a small model, changed.
    fn changed(change: impl FnOnce(&Path)) -> String {
        let folder = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(fixture("functions/one")).unwrap().flatten() {
            std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
        }
        change(folder.path());
        Encoder::open("m", folder.path(), None, &Options::default()).err().expect("it opens").to_string()
    }

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// In the place of the weights.
    fn only(name: &str) -> String {
        changed(|folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            write(folder, name, "x");
        })
    }

    /// Would catch: a message that tells what the parser met, and not what the file is.
    #[test]
    fn a_pointer_of_git_lfs_is_told_as_one() {
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n";
        for name in ["model.safetensors", "tokenizer.json", "config.json"] {
            let said = changed(|folder| write(folder, name, pointer));
            assert!(said.contains(name) && said.contains("pointer of Git LFS") && said.contains("git lfs pull"), "{said}");
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(fixture("writer/llama/config.json"), folder.path().join("config.json")).unwrap();
        write(folder.path(), "tokenizer.json", pointer);
        let said = Writer::open("m", folder.path(), None, &causal::Options::default()).err().unwrap().to_string();
        assert!(said.contains("tokenizer.json") && said.contains("git lfs pull"), "{said}");
    }

    /// Would catch: "No such file" for a folder that holds the model in another form.
    #[test]
    fn a_folder_of_another_kind_is_told_as_what_it_is() {
        for (name, said) in [
            ("tiny.gguf", "millrace models import"),
            ("onnx/model.onnx", "only as onnx/model.onnx"),
            ("model.onnx", "ONNX is not read"),
            ("tf_model.h5", "TensorFlow"),
            ("flax_model.msgpack", "Flax"),
            ("pytorch_model.bin", "can run code"),
        ] {
            let found = only(name);
            assert!(found.contains(said), "{name}: {found}");
        }
        let adapter = r#"{"base_model_name_or_path": "org/base", "task_type": "CAUSAL_LM", "peft_type": "LORA"}"#;
        let folder = tempfile::tempdir().unwrap();
        let opened = |folder: &Path| ModelConfig::open(folder).err().unwrap().to_string();
        assert!(opened(folder.path()).contains("the folder is empty"), "{}", opened(folder.path()));
        write(folder.path(), "inner/config.json", "{}");
        assert!(opened(folder.path()).contains("inner is one; name that"), "{}", opened(folder.path()));
        write(folder.path(), ADAPTER, adapter);
        write(folder.path(), "adapter_model.bin", "x");
        let said = opened(folder.path());
        assert!(said.contains("adapter of `org/base`") && said.contains("AutoPeftModelForCausalLM"), "{said}");
        let said = changed(|folder| {
            std::fs::remove_file(folder.join("model.safetensors")).unwrap();
            write(folder, ADAPTER, "{}");
            write(folder, "adapter_model.bin", "x");
        });
        assert!(said.contains("adapter of a model") && said.contains("merge"), "{said}");
        assert_eq!(instead(&fixture("functions/one")), None);
    }

    /// Would catch: a model of another kind whose message is about a detail of its tokeniser.
    #[test]
    fn a_model_of_another_kind_is_told_as_such() {
        let bert = Writer::open("m", &fixture("functions/fill"), None, &causal::Options::default()).err().unwrap().to_string();
        assert!(bert.contains("config.json: model_type is `bert`") && bert.contains("reads a text"), "{bert}");
        let llama = Encoder::open("m", &fixture("writer/llama"), None, &Options::default()).err().unwrap().to_string();
        assert!(llama.contains("model_type is `llama`") && llama.contains("generate"), "{llama}");
    }

    /// Would catch: sizes that are told without whose they are.
    #[test]
    fn sizes_that_do_not_fit_tell_which_files_differ() {
        let edit = |key: &str, value: Value| {
            changed(|folder| {
                let path = folder.join("config.json");
                let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                config[key] = value;
                std::fs::write(path, config.to_string()).unwrap();
            })
        };
        let hidden = edit("hidden_size", 64.into());
        assert!(hidden.contains("model.safetensors: tensor `") && hidden.contains("config.json"), "{hidden}");
        let tokens = changed(|folder| {
            let path = folder.join("tokenizer.json");
            let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            let token = serde_json::json!({
                "id": 9000, "content": "[NEW]", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false
            });
            tokenizer["model"]["vocab"]["zzzz"] = 9000.into();
            tokenizer["added_tokens"].as_array_mut().unwrap().push(token);
            std::fs::write(path, tokenizer.to_string()).unwrap();
        });
        assert!(
            tokens.contains("tokenizer.json") && tokens.contains("tokens, the model only") && tokens.contains("belong"),
            "{tokens}"
        );
    }
}
