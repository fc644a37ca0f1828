//! From the `model` of a pipeline to a folder: a section `[models.NAME]`, or any name that the places for models know.

use crate::config::{Config, nearest};
use crate::hub::Places;
use crate::inference::Memory;
use anyhow::Context;
use std::path::PathBuf;

/// A model's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// What it is called in answers.
    pub name: String,
    pub folder: PathBuf,
    /// That its weights must have.
    pub digest: Option<String>,
}

/// The budget of all models of a process.
pub fn memory(config: &Config) -> Memory {
    match config.models.memory_budget_mb {
        0 => Memory::default(),
        limit => Memory::limited(limit << 20),
    }
}

/// Blocks while it looks, and while it fetches where the configuration allows that.
pub fn locate(config: &Config, model: &str, places: &Places) -> anyhow::Result<Located> {
    let places = places.clone().from(&config.base).allowing(config.hub.allow_download);
    let Some(section) = config.models.get(model) else {
        let sections = nearest(model, config.models.keys().map(String::as_str));
        let hint = sections.map_or_else(String::new, |near| format!("; did you mean [models.{near}]?"));
        let found = places.find(model).with_context(|| format!("model {model:?} has no section [models.{model}]{hint}"))?;
        return Ok(Located { name: found.name, folder: found.folder, digest: None });
    };
    let digest = section.digest.clone();
    let folder = match section.path.exists() {
        true => section.path.clone(),
        // The path may be such a name: relative paths have been joined to the configuration's folder.
        false => {
            let asked = section.path.strip_prefix(&config.base).unwrap_or(&section.path);
            places.find(&asked.to_string_lossy()).with_context(|| format!("`path` of [models.{model}]"))?.folder
        }
    };
    Ok(Located { name: model.to_owned(), folder, digest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::path::Path;

    fn config(text: &str, base: &Path) -> Config {
        let path = base.join("c.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path, &BTreeMap::new()).unwrap()
    }

    /// Would catch: a section that loses to a place, a digest that is lost, a name that is read as a path or the other way round.
    #[test]
    fn a_section_goes_before_the_places() {
        let root = tempfile::tempdir().unwrap();
        let model = |name: &str| {
            let folder = root.path().join(name);
            std::fs::create_dir_all(&folder).unwrap();
            for file in ["config.json", "model.safetensors", "tokenizer.json"] {
                std::fs::write(folder.join(file), "{}").unwrap();
            }
            folder
        };
        let (own, shared, named) = (model("own"), model("places/starter"), model("places/acme/tiny"));
        let text = "[models.starter]\npath = \"own\"\ndigest = \"abc\"\n[models.remote]\npath = \"acme/tiny\"\n[models.lost]\npath = \"x/y\"\n\
                    [hub]\nallow_download = false\n";
        let config = config(text, root.path());
        let places = Places { models: Some(root.path().join("places")), ..Places::default() };
        let of = |model: &str| locate(&config, model, &places);
        let section = of("starter").unwrap();
        assert_eq!((section.folder, section.digest.as_deref(), section.name.as_str()), (own.clone(), Some("abc"), "starter"));
        assert_eq!(of("remote").unwrap(), Located { name: "remote".into(), folder: named.clone(), digest: None });
        assert_eq!(of("acme/tiny").unwrap().folder, named);
        assert_eq!(of("own").unwrap().folder, own);
        assert_eq!(of("places/starter").unwrap().folder, shared);
        let lost = format!("{:#}", of("lost").unwrap_err());
        assert!(lost.contains("[models.lost]") && lost.contains("millrace models fetch x/y@main"), "{lost}");
        let wrong = format!("{:#}", of("startre").unwrap_err());
        assert!(wrong.contains("did you mean [models.starter]?") && wrong.contains("$MILLRACE_MODELS"), "{wrong}");
    }
}
