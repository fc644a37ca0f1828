//! Films and what people rated, from MovieTweetings: see SOURCE.md.
//!
//! A film is told of before the first rating that names it. The first ratings are history. Before each of the others its user asks
//! for a list, so that the list can be held against the rating that follows.

use super::streams::{Ends, Message};
use anyhow::Context;
use flate2::read::GzDecoder;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;

const RATINGS: &[u8] = include_bytes!("ratings.tsv.gz");
const FILMS: &[u8] = include_bytes!("films.tsv.gz");
/// Ratings that are there before anybody asks.
pub const HISTORY: usize = 2_000;

/// What is sent that is no event of this stream, and what it is.
pub const BAD: [(&str, &str); 4] = [
    ("half a JSON document", r#"{"id": "half a docum"#),
    ("no user", r#"{"id": "no-user", "kind": "rate", "item": "tt0111161", "time": "2013-03-01T00:00:00Z"}"#),
    ("an unknown kind", r#"{"id": "kind", "kind": "rte", "user": "u1", "item": "tt0111161", "time": "2013-03-01T00:00:00Z"}"#),
    ("no time", r#"{"id": "no-time", "kind": "rate", "user": "u1", "item": "tt0111161"}"#),
];

/// A rating: who, what, when.
#[derive(Debug, Clone)]
pub struct Rating {
    pub user: String,
    pub item: String,
    pub time: jiff::Timestamp,
}

pub struct Sample {
    pub ratings: Vec<Rating>,
    films: BTreeMap<String, Film>,
}

struct Film {
    title: String,
    categories: Vec<String>,
}

impl Sample {
    pub fn read() -> anyhow::Result<Self> {
        let damaged = || "the sample of ratings is damaged";
        let films = unpack(FILMS)?.lines().map(film).collect::<Option<_>>().with_context(damaged)?;
        let ratings = unpack(RATINGS)?.lines().enumerate().map(|(n, line)| rating(n, line)).collect::<Option<_>>();
        Ok(Self { ratings: ratings.with_context(damaged)?, films })
    }

    pub fn title<'a>(&'a self, item: &'a str) -> &'a str {
        self.films.get(item).map_or(item, |film| &film.title)
    }

    /// The ratings for which a list is asked.
    pub fn asked(&self) -> &[Rating] {
        self.ratings.get(HISTORY..).unwrap_or_default()
    }

    /// History, and what follows it.
    pub fn messages(&self) -> (Vec<Message>, Vec<Message>) {
        let mut told = HashSet::new();
        let (mut history, mut live) = (Vec::new(), Vec::new());
        for (n, rating) in self.ratings.iter().enumerate() {
            let into = if n < HISTORY { &mut history } else { &mut live };
            if told.insert(&rating.item) {
                into.extend(self.film(rating));
            }
            if n >= HISTORY {
                into.push(rating.request(n));
            }
            into.push(rating.click(n));
        }
        (history, live)
    }

    fn film(&self, first: &Rating) -> Option<Message> {
        let Film { title, categories } = self.films.get(&first.item)?;
        let (item, time) = (&first.item, first.time.to_string());
        let body = serde_json::json!({
            "id": format!("i-{item}"), "kind": "item", "item": item, "title": title, "categories": categories, "time": time,
        });
        Some(Message { key: item.clone(), body: body.to_string(), ends: Ends::Skipped })
    }
}

impl Rating {
    fn request(&self, n: usize) -> Message {
        let body =
            serde_json::json!({ "id": format!("q{n}"), "kind": "request", "user": self.user, "time": self.time.to_string() });
        Message { key: self.user.clone(), body: body.to_string(), ends: Ends::Prediction }
    }

    fn click(&self, n: usize) -> Message {
        let (user, item, time) = (&self.user, &self.item, self.time.to_string());
        let body = serde_json::json!({ "id": format!("k{n}"), "kind": "rate", "user": user, "item": item, "time": time });
        Message { key: self.user.clone(), body: body.to_string(), ends: Ends::Skipped }
    }
}

fn unpack(bytes: &[u8]) -> anyhow::Result<String> {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).context("the sample of ratings is damaged")?;
    Ok(text)
}

/// `2171847 TAB Dead Mine (2012) TAB Action|Horror`
fn film(line: &str) -> Option<(String, Film)> {
    let mut parts = line.split('\t');
    let (item, title, categories) = (parts.next()?, parts.next()?.to_owned(), parts.next()?);
    let categories = categories.split('|').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    Some((format!("tt{item}"), Film { title, categories }))
}

/// `1362062307 TAB 12620 TAB 2171847`. The milliseconds number the ratings, so that no user has two at the same time.
fn rating(n: usize, line: &str) -> Option<Rating> {
    let mut parts = line.split('\t');
    let second: i64 = parts.next()?.parse().ok()?;
    let (user, item) = (format!("u{}", parts.next()?), format!("tt{}", parts.next()?));
    let time = jiff::Timestamp::from_millisecond(second * 1_000 + (n % 1_000) as i64).ok()?;
    Some(Rating { user, item, time })
}
