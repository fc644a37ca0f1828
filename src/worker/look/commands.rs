//! Command lines for a shell, to be copied.

use super::About;
use crate::admin::Command;
use crate::config::Config;
use crate::store::postgres::{Letter, Looked};
use std::path::PathBuf;

/// Writes them for one config.
pub struct Commands {
    config: PathBuf,
}

impl Commands {
    pub fn new(config: &Config) -> Self {
        // Whoever copies a line may stand in another folder.
        Self { config: std::path::absolute(&config.file).unwrap_or_else(|_| "millrace.toml".into()) }
    }

    fn line(&self, words: &[&str], pipeline: &str, more: &str) -> String {
        let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
        let config = quoted(&self.config.to_string_lossy());
        format!("millrace {} --config {config} --pipeline {}{more}", words.join(" "), quoted(pipeline))
    }

    /// What explains a record, and what can be done about one that is a dead letter.
    pub(super) fn of_record(&self, about: &About, row: &Looked) -> Vec<Command> {
        let id = row.id.to_string();
        let mut commands = match about.remembers {
            true => vec![Command {
                name: "explain",
                about: "Folds the log again up to this event and shows the features behind its score.",
                line: self.line(&["explain", "--event", &id], &about.name, ""),
            }],
            false if row.kind == "dead_letter" => Vec::new(),
            false => vec![Command {
                name: "call",
                about: "This function remembers nothing: its answer depends on the event alone. With the event of that place in event.json, it is \
                        scored again.",
                line: self.line(&["call", &about.function], &about.name, " < event.json"),
            }],
        };
        if row.kind == "dead_letter" {
            commands.extend(self.of_letter(&about.name, &id, &row.handling));
        }
        commands
    }

    /// What can be done about a dead letter.
    pub(super) fn of_letter(&self, pipeline: &str, id: &str, handling: &str) -> Vec<Command> {
        let redrive =
            |name, about, more| Command { name, about, line: self.line(&["dead-letters", "redrive", id], pipeline, more) };
        let mut commands = vec![Command {
            name: "show",
            about: "Shows it with its event.",
            line: self.line(&["dead-letters", "show", id, "--payload"], pipeline, ""),
        }];
        match handling {
            "open" => commands.push(redrive(
                "redrive",
                "Writes its event to the input topic again; with the owner's login and Write on that topic.",
                "",
            )),
            "redriving" => commands.push(redrive(
                "redrive",
                "Its redrive was cut off, or is under way: the event may stand in the input topic already. This writes it again.",
                " --again",
            )),
            _ => return commands,
        }
        commands.push(Command {
            name: "discard",
            about: "Puts it aside; with the owner's login.",
            line: self.line(&["dead-letters", "discard", id], pipeline, " --note 'WHY'"),
        });
        commands
    }

    pub(super) fn of_listed(&self, letter: &Letter) -> Vec<Command> {
        self.of_letter(&letter.id.pipeline, &letter.id.to_string(), &letter.handling)
    }

    /// Redrives all that are open and of one reason.
    pub(super) fn redrive_all(&self, pipeline: &str, reason: &str, since: Option<&str>, until: Option<&str>) -> Command {
        let mut words = vec!["dead-letters".to_owned(), "redrive".to_owned(), format!("--reason={reason}")];
        words.extend(since.map(|since| format!("--since={since}")));
        words.extend(until.map(|until| format!("--until={until}")));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        Command {
            name: "redrive",
            about: "Writes the events of those that are open to the input topic again; with the owner's login and Write on that topic.",
            line: self.line(&words, pipeline, ""),
        }
    }
}

/// A word that a shell takes as it is.
fn quoted(word: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "-_./:=@%+,".contains(sign);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands() -> Commands {
        Commands::new(&Config { file: "/etc/mill race.toml".into(), ..Config::default() })
    }

    /// Would catch: a reason of somebody's that a shell obeys, a command for what is done already, a cut-off redrive without a word.
    #[test]
    fn a_line_does_what_it_says_and_no_more() {
        assert_eq!(
            commands().redrive_all("p", "x'; rm -rf ~ #", Some("2026-01-01"), None).line,
            "millrace dead-letters redrive '--reason=x'\\''; rm -rf ~ #' --since=2026-01-01 --config '/etc/mill race.toml' --pipeline p"
        );
        let of = |handling: &str| commands().of_letter("p", "p/1/t/0/5/0", handling);
        let names = |handling: &str| of(handling).iter().map(|command| command.name).collect::<Vec<_>>();
        assert_eq!(names("open"), ["show", "redrive", "discard"]);
        assert_eq!((names("redriven"), names("discarded")), (vec!["show"], vec!["show"]));
        assert!(of("redriving")[1].line.ends_with(" --again") && of("redriving")[1].about.contains("already"));
        assert_eq!(of("open")[1].line, "millrace dead-letters redrive p/1/t/0/5/0 --config '/etc/mill race.toml' --pipeline p");
    }
}
