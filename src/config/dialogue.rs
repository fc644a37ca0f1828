//! `[dialogue]`: what is remembered of each conversation, for the function `reply`.

use super::{Config, EventKind, Pipeline, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[dialogue]`. A conversation is what has one key (`conversation` of a chat message, `fields.key` of a JSON event); its messages must
/// stand in one partition, which they do where the producer gives them that key. Customer and desk write into the same topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dialogue {
    /// Dotted path of the text that says who wrote a message. Default `role`. A message without it is the customer's.
    pub role: String,
    /// What stands there when a customer wrote it. Default: `customer`, `user`.
    pub customers: Vec<String>,
    /// When the desk wrote it: such a message is remembered and not answered. Default: `agent`, `assistant`.
    pub agents: Vec<String>,
    /// When it is neither: it is passed by. Default: `system`. A message of any other role is rejected.
    pub ignored: Vec<String>,
    /// Dotted path of what names the reply that a message of the desk is: the `source` of a suggestion, so that one that was sent in other words
    /// is known. Default `source`. A message without it is known by its text.
    pub source: String,
    /// Messages of a session that are kept at most; the oldest go. Default 20.
    pub messages: usize,
    /// Bytes of the customer's texts that are kept of a session at most; the oldest go, and a longer text is cut. Default 4,096.
    pub bytes: usize,
    /// A session ends when nobody has written for longer than this; the next message begins a new one. Default 1d.
    pub gap: Span,
    /// A message whose time lies further than this after its record's own timestamp is rejected; at most `gap`, else it would end a session that goes on. Default 5m.
    pub max_ahead: Span,
    /// A conversation is forgotten, and its state deleted, when its newest message is older by more than this than the newest of its
    /// partition; at least `gap`. Default: never. A message that comes later than this begins a new session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_after: Option<Span>,
}

impl Default for Dialogue {
    fn default() -> Self {
        let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        Self {
            role: "role".into(),
            customers: names(["customer", "user"]),
            agents: names(["agent", "assistant"]),
            ignored: vec!["system".into()],
            source: "source".into(),
            messages: 20,
            bytes: 4_096,
            gap: Span::days(1),
            max_ahead: Span::minutes(5),
            forget_after: None,
        }
    }
}

impl Dialogue {
    /// Everything that is wrong, as sentences.
    pub fn findings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |text: String| found.push(format!("[dialogue] {text}"));
        for (name, path) in [("role", &self.role), ("source", &self.source)] {
            if path.split('.').any(str::is_empty) {
                say(format!("{name} = {path:?} is no path; write names with dots between"));
            }
        }
        if !(1..=1_000).contains(&self.messages) {
            say(format!("messages = {}: write 1 to 1,000", self.messages));
        }
        if !(64..=1 << 16).contains(&self.bytes) {
            say(format!("bytes = {}: write 64 to 65,536", self.bytes));
        }
        if self.max_ahead.ms() > self.gap.ms() {
            say("max_ahead is longer than gap: one message ahead of time would end a session; write less".to_owned());
        }
        if self.forget_after.is_some_and(|after| after.ms() < self.gap.ms()) {
            say("forget_after is shorter than gap: sessions that go on would be forgotten; write as much or more".to_owned());
        }
        let lists = [("customers", &self.customers), ("agents", &self.agents), ("ignored", &self.ignored)];
        for (place, (list, roles)) in lists.iter().enumerate() {
            for role in roles.iter() {
                if let Some((other, _)) = lists[..place].iter().find(|(_, roles)| roles.contains(role)) {
                    say(format!("the role {role:?} is one of {other} and of {list}; keep one"));
                }
            }
        }
        found
    }
}

/// What is wrong with the dialogue of a pipeline, its own or the config's.
pub fn findings_of(config: &Config, pipeline: &Pipeline) -> Vec<String> {
    if pipeline.function != "reply" {
        let alone = "declares dialogue, and its function is another; remove the section, or write function = \"reply\"";
        return pipeline.dialogue.iter().map(|_| alone.to_owned()).collect();
    }
    if config.dialogue_of(pipeline).is_none() {
        return Vec::new();
    }
    let mut found: Vec<String> = pipeline.dialogue.iter().flat_map(Dialogue::findings).collect();
    if pipeline.topic.len() > 1 {
        let merged = "merge the topics into one first, with a pipeline of the function \"copy\" (pass_event, output_key)";
        found.push(format!("a dialogue is read from one topic, since the order of its messages counts; {merged}"));
    }
    match pipeline.event {
        EventKind::ChatMessage => {}
        EventKind::Json if pipeline.fields.key.is_some() && pipeline.fields.text.is_some() => {}
        EventKind::Json => found.push(
            "a dialogue needs to know where conversation and text stand; name them, for example fields = { id = \"id\", key = \
             \"conversation\", time = \"time\", text = \"text\" }"
                .into(),
        ),
        EventKind::Transaction | EventKind::Click => {
            found.push("a dialogue is made of messages; write event = \"chat_message\", or \"json\"".into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config(event: &str, dialogue: &str) -> Config {
        let head = "[[pipeline]]\nname = 'p'\nmodel = 'm'\nfunction = 'reply'\ntopic = 't'\n[models.m]\npath = 'm'\n[dialogue]\n";
        let head = head.replace("topic = 't'", event);
        Config::parse(&format!("{head}{dialogue}"), "test.toml", &BTreeMap::new()).unwrap()
    }

    const CHAT: &str = "topic = 't'\nevent = 'chat_message'";

    /// Would catch: settings that cannot work, or that say two things of one role.
    #[test]
    fn what_cannot_run_is_named() {
        let json = "topic = 't'\nevent = 'json'\nfields = { key = 'k' }";
        for (event, dialogue, said) in [
            (CHAT, "role = 'a..b'", "role = \"a..b\" is no path"),
            (CHAT, "source = ''", "source = \"\" is no path"),
            (CHAT, "messages = 0", "messages = 0"),
            (CHAT, "bytes = 7", "bytes = 7"),
            (CHAT, "gap = '2d'\nforget_after = '47h'", "forget_after is shorter than gap"),
            (CHAT, "ignored = ['agent']", "\"agent\" is one of agents and of ignored"),
            (json, "", "name them"),
            ("topic = 't'\nevent = 'click'", "", "made of messages"),
            ("topic = ['t', 'u']\nevent = 'chat_message'", "", "read from one topic"),
        ] {
            let found = config(event, dialogue).findings();
            assert!(found.len() == 1 && found[0].contains(said), "{dialogue}: {found:?}");
        }
        assert_eq!(config(CHAT, "gap = '30m'").findings(), [""; 0]);
        assert_eq!(config(CHAT, "forget_after = '30d'").findings(), [""; 0]);
        let mut other = config(CHAT, "");
        other.pipeline[0].dialogue = other.dialogue.take();
        assert_eq!(other.findings(), [""; 0]);
        other.pipeline[0].function = "embed".into();
        assert!(other.findings()[0].contains("declares dialogue"), "{:?}", other.findings());
    }

    /// Would catch: records that do not tell that another dialogue was kept; digests that change where there is none.
    #[test]
    fn the_digest_tells_the_dialogue() {
        let digest = |config: &Config| config.digest_of(&config.pipeline[0]);
        let (one, other, mut none) = (config(CHAT, ""), config(CHAT, "messages = 3"), config(CHAT, ""));
        none.dialogue = None;
        let mut own = none.clone();
        own.pipeline[0].dialogue = Some(Dialogue::default());
        let all = [digest(&one), digest(&other), digest(&none), digest(&own)];
        assert!(all.iter().enumerate().all(|(i, one)| !all[..i].contains(one)), "{all:?}");
    }
}
