//! An Avro schema as it is needed to read bytes: what stands for what, by number, so that a type may hold itself.

use super::logical::Logical;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// One type. Others are named by their place in the plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Type {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum(Vec<Box<str>>),
    Array(usize),
    Map(usize),
    Union(Vec<usize>),
    Record(Vec<(Box<str>, usize)>),
    Logical(Logical),
    /// A name whose definition has begun and not ended.
    Open,
}

/// A schema that was read. The data is as the writer wrote it, so that defaults, aliases and the order of fields elsewhere say nothing here.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) types: Vec<Type>,
    pub(super) root: usize,
}

/// Types of one schema at most, those of its references among them.
const TYPES: usize = 20_000;

impl Plan {
    /// Reads a schema. Those that it refers to come before it, each after those that it refers to itself.
    pub fn parse(references: &[&str], text: &str) -> Result<Self, String> {
        let mut parser = Parser { types: Vec::new(), names: HashMap::new() };
        for reference in references {
            parser.text(reference).map_err(|what| format!("in a schema that it refers to: {what}"))?;
        }
        let root = parser.text(text)?;
        Ok(Self { types: parser.types, root })
    }

    /// The type at a place; every place in a plan has one.
    pub(super) fn at(&self, place: usize) -> &Type {
        self.types.get(place).unwrap_or(&Type::Open)
    }
}

struct Parser {
    types: Vec<Type>,
    /// Full names of what is defined.
    names: HashMap<String, usize>,
}

impl Parser {
    fn text(&mut self, text: &str) -> Result<usize, String> {
        // Nested deeper than its own bound this parser gives up.
        let value: Value = serde_json::from_str(text)
            .map_err(|cause| format!("the schema is not JSON at line {} column {}", cause.line(), cause.column()))?;
        self.schema(&value, "")
    }

    fn add(&mut self, kind: Type) -> Result<usize, String> {
        if self.types.len() >= TYPES {
            return Err(format!("the schema has more than {TYPES} types"));
        }
        self.types.push(kind);
        Ok(self.types.len() - 1)
    }

    fn schema(&mut self, value: &Value, space: &str) -> Result<usize, String> {
        match value {
            Value::String(name) => match primitive(name) {
                Some(kind) => self.add(kind),
                None => self.named(name, space),
            },
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.schema(branch, space)).collect::<Result<_, _>>()?;
                self.add(Type::Union(branches))
            }
            Value::Object(object) => self.object(object, space),
            _ => Err("a type is neither a name, a union nor a definition".into()),
        }
    }

    fn named(&self, name: &str, space: &str) -> Result<usize, String> {
        let known = self.names.get(&full(name, space)).or_else(|| self.names.get(name));
        known.copied().ok_or_else(|| format!("the type {name:?} is not defined"))
    }

    fn object(&mut self, object: &Map<String, Value>, space: &str) -> Result<usize, String> {
        let Some(kind) = object.get("type") else { return Err("a definition has no `type`".into()) };
        let Value::String(kind) = kind else { return self.schema(kind, space) };
        match kind.as_str() {
            "record" | "error" => self.record(object, space),
            "enum" => {
                let place = self.define(object, space)?.0;
                self.types[place] = Type::Enum(texts(object, "symbols")?);
                Ok(place)
            }
            "fixed" => {
                let place = self.define(object, space)?.0;
                let size = object.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed type has no `size`")?;
                let logical = Logical::of(object, Some(size), kind);
                self.types[place] = logical.map_or(Type::Fixed(size), Type::Logical);
                Ok(place)
            }
            "array" => {
                let items = self.schema(object.get("items").ok_or("an array has no `items`")?, space)?;
                self.add(Type::Array(items))
            }
            "map" => {
                let values = self.schema(object.get("values").ok_or("a map has no `values`")?, space)?;
                self.add(Type::Map(values))
            }
            name => match (Logical::of(object, None, name), primitive(name)) {
                (Some(logical), _) => self.add(Type::Logical(logical)),
                (None, Some(kind)) => self.add(kind),
                (None, None) => self.named(name, space),
            },
        }
    }

    fn record(&mut self, object: &Map<String, Value>, space: &str) -> Result<usize, String> {
        let (place, space) = self.define(object, space)?;
        let list = object.get("fields").and_then(Value::as_array).ok_or("a record has no `fields`")?;
        let mut fields = Vec::with_capacity(list.len());
        for field in list {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no `name`")?;
            let kind = field.get("type").ok_or_else(|| format!("the field {name:?} has no `type`"))?;
            let kind = self.schema(kind, &space).map_err(|what| format!("field {name:?}: {what}"))?;
            if fields.iter().any(|(known, _): &(Box<str>, usize)| **known == *name) {
                return Err(format!("the field {name:?} stands twice in a record"));
            }
            fields.push((name.into(), kind));
        }
        self.types[place] = Type::Record(fields);
        Ok(place)
    }

    /// A place under the definition's full name, and the namespace of what stands in it.
    fn define(&mut self, object: &Map<String, Value>, space: &str) -> Result<(usize, String), String> {
        let name = object.get("name").and_then(Value::as_str).ok_or("a named type has no `name`")?;
        let space = object.get("namespace").and_then(Value::as_str).unwrap_or(space);
        let full = full(name, space);
        let place = self.add(Type::Open)?;
        let inner = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
        match self.names.insert(full, place) {
            Some(_) => Err(format!("the type {name:?} is defined twice")),
            None => Ok((place, inner)),
        }
    }
}

/// A name with a dot is full already.
fn full(name: &str, space: &str) -> String {
    match space {
        "" => name.to_owned(),
        _ if name.contains('.') => name.to_owned(),
        space => format!("{space}.{name}"),
    }
}

fn primitive(name: &str) -> Option<Type> {
    Some(match name {
        "null" => Type::Null,
        "boolean" => Type::Boolean,
        "int" => Type::Int,
        "long" => Type::Long,
        "float" => Type::Float,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "string" => Type::String,
        _ => return None,
    })
}

fn texts(object: &Map<String, Value>, name: &str) -> Result<Vec<Box<str>>, String> {
    let list = object.get(name).and_then(Value::as_array);
    let texts: Option<Vec<Box<str>>> = list.and_then(|list| list.iter().map(|text| text.as_str().map(Into::into)).collect());
    texts.ok_or_else(|| format!("an enum has no `{name}`"))
}
