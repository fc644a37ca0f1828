//! A subset of JSON Schema: objects with known properties, or with any (`additionalProperties`), arrays, strings, numbers, integers,
//! booleans, null, `enum` and `const`.

use super::machine::State;
use serde_json::{Map, Value};

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// One of these texts; sorted, none twice.
    Literals(Vec<Vec<u8>>),
    Text {
        min: u32,
        max: Option<u32>,
    },
    Number {
        is_integer: bool,
    },
    List {
        item: usize,
        min: u32,
        max: Option<u32>,
    },
    Object {
        fields: Vec<Field>,
    },
    /// An object of any keys; a key may come twice.
    Map {
        key: usize,
        value: usize,
    },
    /// One of these, which differ in their first byte.
    Either(Vec<usize>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// As JSON, without the quote before it and with the one behind.
    pub key: Vec<u8>,
    pub node: usize,
    pub required: bool,
}

/// A schema, ready to hold an output.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema {
    nodes: Vec<Node>,
    /// Bytes of the shortest value of each node.
    least: Vec<u32>,
    root: usize,
    /// An object of any members, once it is there.
    open: Option<usize>,
}

/// Keywords that say nothing about a value.
const SILENT: [&str; 7] = ["title", "description", "default", "examples", "$schema", "$id", "$comment"];
const MAX_DEPTH: usize = 32;
const MAX_COUNT: u64 = 100_000;
/// Objects and lists in one another, in a value of any shape.
const OPEN_DEPTH: usize = 8;

impl Schema {
    /// Reads a schema. A keyword that it does not know is an error, since an output that ignores it would not validate.
    pub fn parse(schema: &Value) -> Result<Self, String> {
        let mut parsed = Self { nodes: Vec::new(), least: Vec::new(), root: 0, open: None };
        parsed.root = parsed.node(schema, "schema", 0)?;
        Ok(parsed)
    }

    pub(super) fn at(&self, node: usize) -> &Node {
        &self.nodes[node]
    }

    pub(super) fn least(&self, node: usize) -> u32 {
        self.least[node]
    }

    /// The state before a value.
    pub fn begin(&self) -> State {
        State::begin(self.root)
    }

    /// Bytes that must have tokens of their own, so that every value can be ended.
    pub fn needs(&self) -> Vec<u8> {
        let mut needs = Vec::new();
        for node in &self.nodes {
            match node {
                Node::Literals(all) => all.iter().for_each(|text| needs.extend(text)),
                Node::Text { min, .. } => needs.extend(if *min > 0 { &b"\"a"[..] } else { &b"\""[..] }),
                Node::Number { .. } => needs.extend(b"1"),
                Node::List { .. } => needs.extend(b"[],"),
                Node::Object { fields } => {
                    needs.extend(b"{},:\"");
                    fields.iter().for_each(|field| needs.extend(&field.key));
                }
                Node::Map { .. } => needs.extend(b"{},:"),
                Node::Either(_) => {}
            }
        }
        needs.sort_unstable();
        needs.dedup();
        needs
    }

    fn push(&mut self, node: Node) -> usize {
        let least = match &node {
            Node::Literals(all) => all.iter().map(Vec::len).min().unwrap_or(0) as u32,
            Node::Text { min, .. } => 2 + min,
            Node::Number { .. } => 1,
            Node::List { item, min, .. } => (self.least[*item] + 1).saturating_mul(*min).saturating_sub(1).saturating_add(2),
            Node::Object { fields } => {
                let needed = fields.iter().filter(|field| field.required);
                let bytes = |field: &Field| (field.key.len() as u32).saturating_add(3 + self.least[field.node]);
                needed.map(bytes).fold(0, u32::saturating_add).saturating_sub(1).saturating_add(2)
            }
            Node::Map { .. } => 2,
            Node::Either(all) => all.iter().map(|node| self.least[*node]).min().unwrap_or(0),
        };
        self.nodes.push(node);
        self.least.push(least);
        self.nodes.len() - 1
    }

    fn node(&mut self, schema: &Value, path: &str, depth: usize) -> Result<usize, String> {
        let Value::Object(schema) = schema else { return Err(format!("{path}: a schema is an object")) };
        if depth > MAX_DEPTH {
            return Err(format!("{path}: nested deeper than {MAX_DEPTH}"));
        }
        let (kind, known): (&str, &[&str]) = match (schema.get("enum"), schema.get("const"), schema.get("type")) {
            (Some(_), _, _) => ("enum", &["enum", "type"]),
            (_, Some(_), _) => ("const", &["const", "type"]),
            (_, _, Some(Value::String(kind))) => match kind.as_str() {
                "object" => ("object", &["type", "properties", "required", "additionalProperties"]),
                "array" => ("array", &["type", "items", "minItems", "maxItems"]),
                "string" => ("string", &["type", "minLength", "maxLength"]),
                kind @ ("integer" | "number" | "boolean" | "null") => (kind, &["type"]),
                other => return Err(format!("{path}: there is no type `{other}`")),
            },
            _ => return Err(format!("{path}: it has neither `type` as one text, nor `enum`, nor `const`")),
        };
        if let Some(word) = schema.keys().find(|word| !known.contains(&word.as_str()) && !SILENT.contains(&word.as_str())) {
            return Err(format!("{path}: the keyword `{word}` is not supported here; known: {}", known.join(", ")));
        }
        let node = match kind {
            "enum" | "const" => literals(schema, path)?,
            "boolean" => Node::Literals(vec![b"false".to_vec(), b"true".to_vec()]),
            "null" => Node::Literals(vec![b"null".to_vec()]),
            "integer" | "number" => Node::Number { is_integer: kind == "integer" },
            "string" => {
                let (min, max) = bounds(schema, path, "minLength", "maxLength")?;
                Node::Text { min, max }
            }
            "array" => {
                let (min, max) = bounds(schema, path, "minItems", "maxItems")?;
                let items = schema.get("items").ok_or_else(|| format!("{path}: an array needs `items`"))?;
                Node::List { item: self.node(items, &format!("{path}.items"), depth + 1)?, min, max }
            }
            _ => match self.members(schema, path, depth)? {
                Some(open) => return Ok(open),
                None => Node::Object { fields: self.fields(schema, path, depth)? },
            },
        };
        let least = self.push(node);
        match self.least[least] {
            bytes if u64::from(bytes) > MAX_COUNT => Err(format!("{path}: its shortest value has {bytes} bytes")),
            _ => Ok(least),
        }
    }

    /// The node of an object whose keys are not named: its values are of one schema, or of any shape.
    fn members(&mut self, schema: &Map<String, Value>, path: &str, depth: usize) -> Result<Option<usize>, String> {
        let has_names = ["properties", "required"].iter().any(|word| match schema.get(*word) {
            Some(Value::Object(names)) => !names.is_empty(),
            Some(Value::Array(names)) => !names.is_empty(),
            other => other.is_some(),
        });
        Ok(match schema.get("additionalProperties") {
            None | Some(Value::Bool(false)) => None,
            Some(Value::Bool(true) | Value::Object(_)) if has_names => None,
            Some(Value::Bool(true)) => Some(self.any_object()),
            Some(of @ Value::Object(_)) => {
                let value = self.node(of, &format!("{path}.*"), depth + 1)?;
                Some(self.map_of(value))
            }
            Some(_) => return Err(format!("{path}: `additionalProperties` is true, false or a schema")),
        })
    }

    fn map_of(&mut self, value: usize) -> usize {
        let key = self.push(Node::Text { min: 1, max: None });
        self.push(Node::Map { key, value })
    }

    /// An object of any members, [`OPEN_DEPTH`] deep at most.
    fn any_object(&mut self) -> usize {
        if let Some(known) = self.open {
            return known;
        }
        let plain = [
            Node::Text { min: 0, max: None },
            Node::Number { is_integer: false },
            Node::Literals(vec![b"false".to_vec(), b"null".to_vec(), b"true".to_vec()]),
        ];
        let plain: Vec<usize> = plain.into_iter().map(|node| self.push(node)).collect();
        let mut value = self.push(Node::Either(plain.clone()));
        for _ in 1..OPEN_DEPTH {
            let list = self.push(Node::List { item: value, min: 0, max: None });
            let object = self.map_of(value);
            value = self.push(Node::Either(plain.iter().copied().chain([list, object]).collect()));
        }
        let object = self.map_of(value);
        self.open = Some(object);
        object
    }

    fn fields(&mut self, schema: &Map<String, Value>, path: &str, depth: usize) -> Result<Vec<Field>, String> {
        let empty = Map::new();
        let properties = match schema.get("properties") {
            None => &empty,
            Some(Value::Object(properties)) => properties,
            Some(_) => return Err(format!("{path}: `properties` is an object")),
        };
        let mut required: Vec<&str> = Vec::new();
        for name in schema.get("required").map_or(&[][..], |list| list.as_array().map_or(&[][..], Vec::as_slice)) {
            match name.as_str().filter(|name| properties.contains_key(*name)) {
                Some(name) if !required.contains(&name) => required.push(name),
                Some(_) => {}
                None => return Err(format!("{path}: `required` names {name}, which `properties` does not have")),
            }
        }
        let optional = properties.keys().map(String::as_str).filter(|name| !required.contains(name));
        let mut fields = Vec::new();
        for name in required.iter().copied().chain(optional) {
            let node = self.node(&properties[name], &format!("{path}.{name}"), depth + 1)?;
            let key = Value::from(name).to_string().into_bytes()[1..].to_vec();
            fields.push(Field { key, node, required: required.contains(&name) });
        }
        Ok(fields)
    }
}

fn literals(schema: &Map<String, Value>, path: &str) -> Result<Node, String> {
    let values = match (schema.get("enum"), schema.get("const")) {
        (Some(Value::Array(values)), _) => values.clone(),
        (None, Some(value)) => vec![value.clone()],
        _ => return Err(format!("{path}: `enum` is a list")),
    };
    let mut all: Vec<Vec<u8>> = values.iter().map(|value| value.to_string().into_bytes()).collect();
    all.sort_unstable();
    all.dedup();
    match all.is_empty() {
        true => Err(format!("{path}: `enum` is empty")),
        false => Ok(Node::Literals(all)),
    }
}

fn bounds(schema: &Map<String, Value>, path: &str, min: &str, max: &str) -> Result<(u32, Option<u32>), String> {
    let of = |name: &str| match schema.get(name) {
        None => Ok(None),
        Some(value) => match value.as_u64().filter(|count| *count <= MAX_COUNT) {
            Some(count) => Ok(Some(count as u32)),
            None => Err(format!("{path}: `{name}` is a whole number up to {MAX_COUNT}")),
        },
    };
    let (min_count, max_count) = (of(min)?.unwrap_or(0), of(max)?);
    match max_count {
        Some(max_count) if max_count < min_count => Err(format!("{path}: `{max}` is below `{min}`")),
        _ => Ok((min_count, max_count)),
    }
}
