//! From the schema of the config file to its sections and keys.

use super::words;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The order in which somebody meets them; what is not here follows.
const ORDER: [&str; 8] = ["kafka", "postgres", "pipeline", "models", "hub", "admin", "telemetry", "memory"];

/// One table of the config file.
#[derive(Debug, Serialize)]
pub struct Section {
    pub title: String,
    pub words: String,
    pub keys: Vec<Key>,
}

/// One key.
#[derive(Debug, Serialize)]
pub struct Key {
    pub name: String,
    pub kind: String,
    /// In the words of its comment, else as the type has it; what must be given says so.
    pub default: String,
    /// As the type has it.
    pub machine: Option<Value>,
    /// The variable that sets it, where one can.
    pub env: Option<String>,
    pub words: String,
}

/// Where a table stands: how it is written, and how the environment names it.
#[derive(Debug, Clone)]
struct Place {
    path: String,
    env: Option<String>,
    list: bool,
}

impl Place {
    fn title(&self) -> String {
        if self.list { format!("[[{}]]", self.path) } else { format!("[{}]", self.path) }
    }

    fn inner(&self, name: &str) -> Self {
        let env = self.env.as_ref().map(|env| format!("{env}__{}", name.to_ascii_uppercase()));
        Self { path: format!("{}.{name}", self.path), env, list: false }
    }

    /// A list of tables; the environment names those of pipelines alone.
    fn listed(self) -> Self {
        Self { env: None, list: true, ..self }
    }
}

/// The schema, and which types have a section of their own at the top of the file.
pub struct Root {
    schema: Value,
    at_the_top: BTreeMap<String, String>,
}

/// What a property holds.
enum Held {
    Table(String),
    Tables(String),
    Named(String),
    Value,
}

impl Root {
    pub fn new(schema: Value) -> Self {
        let root = Self { schema, at_the_top: BTreeMap::new() };
        let owned = root.properties(&root.schema).filter_map(|(name, property)| match root.held(property) {
            Held::Table(of) | Held::Tables(of) => Some((of, format!("[{name}]"))),
            Held::Named(_) | Held::Value => None,
        });
        let at_the_top = owned.collect();
        Self { at_the_top, ..root }
    }

    pub fn sections(&self) -> Vec<Section> {
        let mut top: Vec<(&String, &Value)> = self.properties(&self.schema).collect();
        top.sort_by_key(|(name, _)| ORDER.iter().position(|known| known == name).unwrap_or(ORDER.len()));
        let mut sections = Vec::new();
        for (name, property) in top {
            let env = Some(format!("MILLRACE_{}", name.to_ascii_uppercase()));
            let place = Place { path: name.clone(), env, list: false };
            match self.held(property) {
                Held::Table(of) => self.walk(&place, &of, &mut sections),
                Held::Tables(of) => {
                    let env = place.env.map(|env| env + "__NAME");
                    self.walk(&Place { env, list: true, ..place }, &of, &mut sections);
                }
                Held::Named(_) | Held::Value => {}
            }
        }
        sections
    }

    fn walk(&self, place: &Place, of: &str, sections: &mut Vec<Section>) {
        let table = &self.schema["$defs"][of];
        let (mut keys, mut inner) = (Vec::new(), Vec::new());
        for (name, property) in self.properties(table) {
            let below = place.inner(name);
            match self.held(property) {
                Held::Table(of) if !self.at_the_top.contains_key(&of) => inner.push((below, of)),
                Held::Tables(of) => inner.push((below.listed(), of)),
                Held::Table(of) => {
                    let kind = format!("table, as `{}`", self.at_the_top[&of]);
                    keys.push(Key { kind, ..key(name, property, table, None) });
                }
                Held::Named(of) => {
                    inner.push((below.inner("NAME"), of));
                    keys.push(key(name, self.plain(property), table, below.env));
                }
                Held::Value => keys.push(key(name, self.plain(property), table, below.env)),
            }
        }
        if let Held::Named(of) = self.held(table) {
            inner.push((Place { env: place.env.as_ref().map(|env| format!("{env}__NAME")), ..place.inner("NAME") }, of));
        }
        sections.push(Section { title: format!("`{}`", place.title()), words: words::of(table), keys });
        inner.iter().for_each(|(place, of)| self.walk(place, of, sections));
    }

    fn properties<'a>(&self, table: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
        table["properties"].as_object().into_iter().flatten()
    }

    /// A choice that is a type of its own, written out with the property's words.
    fn plain<'a>(&'a self, property: &'a Value) -> Value {
        let Some(of) = named(property) else { return property.clone() };
        let (Value::Object(mut whole), Value::Object(own)) = (self.schema["$defs"][of].clone(), property.clone()) else {
            return property.clone();
        };
        whole.extend(own.into_iter().filter(|(name, _)| name != "$ref" && name != "anyOf"));
        Value::Object(whole)
    }

    fn held(&self, property: &Value) -> Held {
        let table = |of: &str| self.schema["$defs"][of]["properties"].is_object();
        let owned = |of: Option<&str>| of.filter(|of| table(of)).map(str::to_owned);
        if let Some(of) = owned(named(property)) {
            return Held::Table(of);
        }
        if let Some(of) = owned(named(&property["items"])) {
            return Held::Tables(of);
        }
        owned(named(&property["additionalProperties"])).map_or(Held::Value, Held::Named)
    }
}

impl Section {
    /// The options of functions: `MILLRACE_PIPELINE__NAME__OPTIONS__OPTION` in the environment.
    pub fn of_options(title: &str, schema: &Value) -> Self {
        let place = Place { path: String::new(), env: Some("MILLRACE_PIPELINE__NAME__OPTIONS".into()), list: false };
        let all: Map<String, Value> = schema["properties"].as_object().cloned().unwrap_or_default();
        let keys = all.into_iter().map(|(name, option)| {
            let env = place.inner(&name).env;
            key(&name, option, schema, env)
        });
        Self { title: title.to_owned(), words: String::new(), keys: keys.collect() }
    }
}

/// The type of its own that a schema refers to, also where it may be left out.
fn named(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str();
    let optional = || schema["anyOf"].as_array().into_iter().flatten().find_map(|one| one["$ref"].as_str());
    direct.or_else(optional)?.strip_prefix("#/$defs/")
}

fn key(name: &str, property: impl std::borrow::Borrow<Value>, table: &Value, env: Option<String>) -> Key {
    let property = property.borrow();
    let required = table["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
    let machine = Some(&property["default"]).filter(|default| !default.is_null()).cloned();
    let (meaning, told) = words::parted(&words::of(property));
    let default = match (told, &machine) {
        _ if required => "must be given".to_owned(),
        (Some(told), _) => told,
        (None, Some(machine)) => words::value(machine),
        (None, None) => "none".to_owned(),
    };
    Key { name: name.to_owned(), kind: words::kind(name, property), default, machine, env, words: meaning }
}
