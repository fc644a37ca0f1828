//! `[models]`: how models are held, and `[models.NAME]`: where each is.

use super::nearest;
use schemars::JsonSchema;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

/// `[models]`: how the models of `[models.NAME]` are held.
#[derive(Debug, Clone, Default, JsonSchema)]
#[schemars(default)]
pub struct Models {
    /// Memory for answers of encoders that are kept, MB of 2^20 bytes, over all models. Default 0: none. A text that was asked before is
    /// then not computed again, and its answer has the same bits. Worth it where texts repeat.
    pub result_cache_mb: usize,
    /// Memory for the networks that are loaded at the same time, MB of 2^20 bytes. Default 0: no limit. When another model needs the
    /// room, the one that was not used for the longest time goes, and is read again at its next call; never one in use, nor one of a
    /// pipeline with `pin = true`.
    pub memory_budget_mb: usize,
    #[schemars(flatten)]
    by_name: BTreeMap<String, Model>,
}

/// `[models.NAME]`: a folder with `model.safetensors`, `config.json` and `tokenizer.json`; for `risk` the file of a scoring model.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The folder, or the file; relative paths start at the config file's folder.
    pub path: PathBuf,
    /// SHA-256 of `model.safetensors`, or of the file, in hex; checked when set.
    pub digest: Option<String>,
}

impl Deref for Models {
    type Target = BTreeMap<String, Model>;

    fn deref(&self) -> &Self::Target {
        &self.by_name
    }
}

impl DerefMut for Models {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.by_name
    }
}

/// The settings; no model can have such a name.
pub(super) const SETTINGS: [&str; 2] = ["result_cache_mb", "memory_budget_mb"];

/// What stands under a name: a model's table, or a setting that is not known.
enum Given {
    Model(Model),
    Else,
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Given;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a table with `path`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Given, A::Error> {
                Model::deserialize(de::value::MapAccessDeserializer::new(map)).map(Given::Model)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Given, E> {
                Ok(Given::Else)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Given, E> {
                Ok(Given::Else)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Given, E> {
                Ok(Given::Else)
            }

            fn visit_str<E>(self, _: &str) -> Result<Given, E> {
                Ok(Given::Else)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
                while list.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Given::Else)
            }
        }
        deserializer.deserialize_any(Table)
    }
}

impl<'de> Deserialize<'de> for Models {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Models;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "settings ({}) and tables [models.NAME]", SETTINGS.join(", "))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Models, A::Error> {
                let mut models = Models::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "result_cache_mb" => models.result_cache_mb = map.next_value()?,
                        "memory_budget_mb" => models.memory_budget_mb = map.next_value()?,
                        _ => match map.next_value()? {
                            Given::Model(model) => _ = models.by_name.insert(key, model),
                            Given::Else => {
                                let hint = match nearest(&key, SETTINGS) {
                                    Some(near) => format!("did you mean `{near}`?"),
                                    None => format!("settings are {}", SETTINGS.join(", ")),
                                };
                                let text =
                                    format!("`{key}` is no setting of [models], and a model is a table [models.NAME]; {hint}");
                                return Err(de::Error::custom(text));
                            }
                        },
                    }
                }
                Ok(models)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}
