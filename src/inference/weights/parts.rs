//! A checkpoint in several files, by its index.
//!
//! The files lie in the model's folder. One of a folder beside it may be named too, as `../NAME/FILE`, when the index tells its sha256 under
//! `metadata.sha256`: two models then have tensors in common that are stored once (`millrace models share`). Of such a file the index says
//! which tensors belong to the model.

use super::{Digest, File, Weights, read};
use crate::inference::InferenceError;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    metadata: Metadata,
    weight_map: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    sha256: BTreeMap<String, String>,
}

/// Where a file that an index names lies.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Within,
    Beside,
}

/// A name that leads anywhere else would read what is not part of the model.
fn place(name: &str) -> Option<Place> {
    let parts: Vec<Component<'_>> = Path::new(name).components().collect();
    let (place, spelt) = match parts[..] {
        [Component::Normal(file)] => (Place::Within, file.to_str()?.to_owned()),
        [Component::ParentDir, Component::Normal(folder), Component::Normal(file)] => {
            (Place::Beside, format!("../{}/{}", folder.to_str()?, file.to_str()?))
        }
        _ => return None,
    };
    // `a/` and `./a` have the components of `a`.
    (spelt == name).then_some(place)
}

impl Weights {
    pub(super) fn parts(folder: &Path, path: PathBuf) -> Result<Self, InferenceError> {
        let malformed = |cause: String| InferenceError::Malformed { path: path.clone(), cause };
        let index: Index = serde_json::from_slice(&read(&path)?).map_err(|e| malformed(e.to_string()))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if names.is_empty() {
            return Err(malformed("its weight_map names no file".to_owned()));
        }
        let (mut files, mut list) = (Vec::with_capacity(names.len()), String::new());
        for name in &names {
            let place = place(name).ok_or_else(|| {
                malformed(format!("it names the file `{name}`, which does not lie in the folder itself, nor in one beside it"))
            })?;
            let path = folder.join(name);
            let bytes = read(&path)?;
            let digest = Digest::of(&bytes);
            if place == Place::Beside {
                let expected = index.metadata.sha256.get(*name).ok_or_else(|| {
                    malformed(format!("it names the file `{name}` of another model without its sha256 under metadata.sha256"))
                })?;
                if !digest.matches(expected) {
                    return Err(InferenceError::WrongDigest { path, expected: expected.clone(), found: digest.0 });
                }
            }
            // Writing to a String cannot fail.
            _ = writeln!(list, "{name} {}", digest.0);
            files.push(File { path, bytes, own: place == Place::Within });
        }
        let number = |file: &String| names.iter().position(|name| *name == file).unwrap_or_default();
        let index = index.weight_map.iter().map(|(tensor, file)| (tensor.clone(), number(file))).collect();
        Ok(Self { digest: Digest::of(list.as_bytes()), path, files, index: Some(index) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_within_the_folder_and_in_one_beside_it_are_places() {
        assert_eq!(place("a.safetensors"), Some(Place::Within));
        assert_eq!(place("../base/model.safetensors"), Some(Place::Beside));
        for name in ["", ".", "..", "a/", "./a", "a/b", "/a", "../a", "../../a/b", "../a/../b", "../a/b/c", "..//a/b", "../a/b/"]
        {
            assert_eq!(place(name), None, "{name:?}");
        }
    }
}
