//! The files, and the events that are made of them.

use crate::Anyhow;
use crate::backlog::Backlog;
use crate::stage::Stage;
use anyhow::{Context, ensure};
use flate2::read::MultiGzDecoder;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// One rating in so many is preceded by a request of its user.
const REQUESTS: usize = 10;

pub struct Film {
    item: String,
    title: String,
    genres: Vec<String>,
}

pub struct Rating {
    seconds: i64,
    user: String,
    item: String,
}

pub struct Data {
    pub films: Vec<Film>,
    /// By time.
    pub ratings: Vec<Rating>,
}

fn text(path: &Path) -> Anyhow<String> {
    let file = std::fs::File::open(path).with_context(|| format!("{}: see --data", path.display()))?;
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text)?;
    Ok(text)
}

impl Data {
    /// All films, and the first so many ratings.
    pub fn read(folder: &Path, most: Option<usize>) -> Anyhow<Self> {
        let folder = folder.join("movietweetings-100k");
        let film = |line: &str| -> Anyhow<Film> {
            let parts: Vec<&str> = line.split("::").collect();
            ensure!(parts.len() == 3, "movies.dat: {line}");
            let genres = parts[2].split('|').filter(|genre| !genre.is_empty()).map(str::to_owned).collect();
            Ok(Film { item: parts[0].to_owned(), title: parts[1].to_owned(), genres })
        };
        let rating = |line: &str| -> Anyhow<Rating> {
            let parts: Vec<&str> = line.split('\t').collect();
            ensure!(parts.len() == 4, "stream.tsv: {line}");
            Ok(Rating { seconds: parts[0].parse()?, user: parts[1].to_owned(), item: parts[2].to_owned() })
        };
        Ok(Self {
            films: text(&folder.join("movies.dat.gz"))?.lines().map(film).collect::<Anyhow<_>>()?,
            ratings: text(&folder.join("stream.tsv.gz"))?
                .lines()
                .skip(1)
                .take(most.unwrap_or(usize::MAX))
                .map(rating)
                .collect::<Anyhow<_>>()?,
        })
    }

    /// Puts all into two topics, in the order of time; returns the number of events.
    pub fn send(&self, stage: &Stage, films: &str, clicks: &str) -> Anyhow<i64> {
        let mut backlog = Backlog::new(stage)?;
        let begin = self.ratings.first().map_or(0, |first| first.seconds);
        for Film { item, title, genres } in &self.films {
            let event = json!({ "id": format!("m{item}"), "kind": "item", "item": item, "title": title, "categories": genres, "time": begin * 1_000 });
            backlog.put(films, item, &event.to_string())?;
        }
        for (number, Rating { seconds, user, item }) in self.ratings.iter().enumerate() {
            let time_ms = seconds * 1_000;
            if number % REQUESTS == 0 {
                let event = json!({ "id": format!("q{number}"), "kind": "request", "user": user, "time": time_ms });
                backlog.put(clicks, user, &event.to_string())?;
            }
            let event = json!({ "id": format!("c{number}"), "kind": "rate", "user": user, "item": item, "time": time_ms });
            backlog.put(clicks, user, &event.to_string())?;
        }
        backlog.end()
    }
}
