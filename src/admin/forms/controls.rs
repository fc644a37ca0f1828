//! From a function's schemas to the controls of a form, and from what was typed in to a request.

use super::page::escaped;
use super::request;
use crate::admin::api::{ApiError, FunctionDoc};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What was typed in, by the names of the controls.
#[derive(Debug, Default)]
pub struct Given(BTreeMap<String, String>);

impl Given {
    /// Out of `application/x-www-form-urlencoded`.
    pub fn read(bytes: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(bytes);
        // Browsers write line ends as two characters.
        Self(pairs.map(|(name, value)| (name.into_owned(), value.replace("\r\n", "\n"))).collect())
    }

    fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

enum Kind {
    Text,
    /// One item a line.
    Lines,
    Json,
    Choice(Vec<String>),
    Truth,
    Number {
        whole: bool,
    },
}

struct Control {
    /// Of an input or a parameter.
    name: String,
    /// In the form.
    key: String,
    kind: Kind,
    needed: bool,
    schema: Value,
}

/// The controls of one form.
pub struct Controls {
    /// `None` where the whole event is written as JSON.
    fields: Option<Vec<Control>>,
    parameters: Vec<Control>,
}

/// The control of a whole event.
const EVENT: &str = "event";

impl Controls {
    pub fn new(function: &FunctionDoc) -> Self {
        // A text, or an event: the event has all fields.
        let events = function.input["anyOf"].as_array().into_iter().flatten();
        let event = events.chain([&function.input]).find(|one| one["type"] == "object").cloned().unwrap_or_default();
        let properties = event["properties"].as_object().cloned().unwrap_or_default();
        let needed = |name: &str| event["required"].as_array().is_some_and(|all| all.iter().any(|one| one == name));
        let nested = properties.values().any(|schema| schema["type"] == "object");
        let other = function.example.as_object().is_some_and(|example| example.keys().any(|name| !properties.contains_key(name)));
        let control = |name: &String, schema: &Value, of: char, needed: bool| {
            let key = format!("{of}.{name}");
            Control { name: name.clone(), key, kind: kind(schema), needed, schema: schema.clone() }
        };
        let fields = || properties.iter().map(|(name, schema)| control(name, schema, 'i', needed(name))).collect();
        let parameters = function.parameters["properties"].as_object().into_iter().flatten();
        Self {
            fields: (!properties.is_empty() && !nested && !other).then(fields),
            parameters: parameters.map(|(name, schema)| control(name, schema, 'p', false)).collect(),
        }
    }

    /// An input in the controls.
    pub fn example(&self, input: &Value) -> Given {
        let Some(fields) = &self.fields else {
            return Given(BTreeMap::from([(EVENT.to_owned(), format!("{input:#}"))]));
        };
        let mut given = BTreeMap::new();
        let plain = fields.iter().find(|field| field.name == "text").or_else(|| fields.iter().find(|field| field.needed));
        for field in fields {
            let is_plain = plain.is_some_and(|plain| plain.name == field.name);
            let value = if input.is_object() { input.get(&field.name) } else { Some(input).filter(|_| is_plain) };
            if let Some(value) = value {
                given.insert(field.key.clone(), shown(&field.kind, value));
            }
        }
        Given(given)
    }

    /// The body that asks for what was typed in.
    pub fn request(&self, given: &Given) -> Result<Value, ApiError> {
        let Some(fields) = &self.fields else {
            return Ok(request(json_of("inputs", given.of(EVENT))?, self.parameters(given)?));
        };
        let mut inputs = Map::new();
        for field in fields.iter().filter(|field| !given.of(&field.key).is_empty()) {
            inputs.insert(field.name.clone(), field.value(given.of(&field.key), "inputs")?);
        }
        Ok(request(Value::Object(inputs), self.parameters(given)?))
    }

    fn parameters(&self, given: &Given) -> Result<Value, ApiError> {
        let mut all = Map::new();
        for parameter in self.parameters.iter().filter(|one| !given.of(&one.key).is_empty()) {
            all.insert(parameter.name.clone(), parameter.value(given.of(&parameter.key), "parameters")?);
        }
        Ok(Value::Object(all))
    }

    /// The controls; `wrong` is the `param` of an error.
    pub fn html(&self, given: &Given, wrong: &str) -> String {
        let is_wrong = |of: &str, control: &Control| {
            let mut parts = wrong.split('.').filter(|part| part.parse::<usize>().is_err());
            parts.next() == Some(of) && parts.next().is_none_or(|name| name == control.name)
        };
        let mut html = String::new();
        match &self.fields {
            None => {
                html += &format!(
                    "<div class=\"field\"><label for=\"{EVENT}\">Event</label><p class=\"hint\" id=\"{EVENT}-hint\">A JSON object, or a list \
                     of them.</p><textarea id=\"{EVENT}\" name=\"{EVENT}\" rows=\"8\" required spellcheck=\"false\" \
                     aria-describedby=\"{EVENT}-hint\"{}>\n{}</textarea></div>",
                    invalid(wrong.starts_with("inputs")),
                    escaped(given.of(EVENT))
                );
            }
            Some(fields) => fields.iter().for_each(|field| html += &field.html(given.of(&field.key), is_wrong("inputs", field))),
        }
        if !self.parameters.is_empty() {
            let used = self.parameters.iter().any(|one| !given.of(&one.key).is_empty());
            html += if used { "<details open>" } else { "<details>" };
            html += "<summary>Parameters</summary>";
            self.parameters.iter().for_each(|one| html += &one.html(given.of(&one.key), is_wrong("parameters", one)));
            html += "</details>";
        }
        html
    }
}

/// How a value is typed in.
fn kind(schema: &Value) -> Kind {
    let kinds = &schema["type"];
    let is = |kind: &str| kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
    match schema["enum"].as_array() {
        Some(words) => Kind::Choice(words.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        None if is("boolean") => Kind::Truth,
        None if is("integer") || is("number") => Kind::Number { whole: is("integer") },
        None if is("array") && schema["items"]["type"] == "string" => Kind::Lines,
        None if is("string") => Kind::Text,
        None => Kind::Json,
    }
}

/// A value as it is typed in.
fn shown(kind: &Kind, value: &Value) -> String {
    match (kind, value) {
        (_, Value::String(text)) => text.clone(),
        (Kind::Lines, Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n"),
        (_, other) => format!("{other:#}"),
    }
}

fn json_of(param: &str, text: &str) -> Result<Value, ApiError> {
    serde_json::from_str(text).map_err(|cause| {
        let message = format!("`{param}` is not JSON at line {} column {}", cause.line(), cause.column());
        ApiError { status: 400, kind: "invalid_request", message, param: Some(param.to_owned()) }
    })
}

fn invalid(is: bool) -> &'static str {
    if is { " aria-invalid=\"true\"" } else { "" }
}

impl Control {
    /// What was typed in as JSON; `of` is `inputs` or `parameters`.
    fn value(&self, text: &str, of: &str) -> Result<Value, ApiError> {
        Ok(match self.kind {
            Kind::Text | Kind::Choice(_) => text.into(),
            Kind::Lines => text.lines().filter(|line| !line.trim().is_empty()).collect(),
            Kind::Truth => json!(text == "true"),
            // A number that is none goes on as a text: the function says what it must be.
            Kind::Number { .. } => serde_json::from_str(text.trim()).unwrap_or_else(|_| text.into()),
            Kind::Json => json_of(&format!("{of}.{}", self.name), text)?,
        })
    }

    fn html(&self, given: &str, wrong: bool) -> String {
        let (key, name, hint) = (escaped(&self.key), escaped(&self.name), escaped(&self.hint()));
        let about = format!("id=\"{key}\" name=\"{key}\" aria-describedby=\"{key}-hint\"{}", invalid(wrong));
        let needed = if self.needed { " required" } else { "" };
        let option = |value: &str, text: &str| {
            let selected = if value == given { " selected" } else { "" };
            format!("<option value=\"{}\"{selected}>{}</option>", escaped(value), escaped(text))
        };
        let control = match &self.kind {
            Kind::Choice(words) => {
                let words: String = words.iter().map(|word| option(word, word)).collect();
                format!("<select {about}>{}{words}</select>", option("", "(as configured)"))
            }
            Kind::Truth => {
                let both = option("true", "true") + &option("false", "false");
                format!("<select {about}>{}{both}</select>", option("", "(as configured)"))
            }
            Kind::Number { whole } => {
                let limit =
                    |name: &str, of: &str| self.schema[of].as_f64().map_or(String::new(), |value| format!(" {name}=\"{value}\""));
                let (least, most) = (limit("min", "minimum"), limit("max", "maximum"));
                let step = if *whole { "1" } else { "any" };
                format!("<input type=\"number\" {about} step=\"{step}\"{least}{most} value=\"{}\">", escaped(given))
            }
            // The line end behind the tag is not part of the text, and keeps one that the text begins with.
            Kind::Text => format!("<textarea {about} rows=\"3\"{needed}>\n{}</textarea>", escaped(given)),
            Kind::Lines | Kind::Json => format!("<textarea {about} rows=\"4\"{needed}>\n{}</textarea>", escaped(given)),
        };
        format!(
            "<div class=\"field\"><label for=\"{key}\">{name}</label><p class=\"hint\" id=\"{key}-hint\">{hint}</p>{control}</div>"
        )
    }

    /// What it means, how it is written, what is in force without it.
    fn hint(&self) -> String {
        let mut parts: Vec<String> = self.schema["description"].as_str().map(|text| text.replace('`', "")).into_iter().collect();
        match self.kind {
            Kind::Lines => parts.push("One a line.".to_owned()),
            Kind::Json => parts.push("As JSON.".to_owned()),
            _ => {}
        }
        if let Some(default) = self.schema.get("default") {
            parts.push(format!("In force: {default}."));
        }
        if parts.is_empty() { if self.needed { "Needed." } else { "May be empty." }.to_owned() } else { parts.join(" ") }
    }
}
