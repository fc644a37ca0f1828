//! Fetches a model into a hub's cache: the revision is resolved to a commit once, every file is of that commit, what is whole has its name
//! from then on, and the revision points to it last of all. What was cut off is gone on with.

mod blob;

use super::client::About;
use super::repo::is_commit;
use super::wanted::{INDEX, parts, wanted};
use super::{Hub, HubError, Repo};
use blob::{Blob, written};
use reqwest::Method;
use reqwest::blocking::{Client, Response};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A model in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The snapshot's folder.
    pub folder: PathBuf,
    pub commit: String,
    /// Bytes that came over the network; the rest was there.
    pub bytes: u64,
}

/// How far a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub file: String,
    pub bytes: u64,
    pub of: u64,
}

/// Fetches what is not there yet. Blocks; may be called in a runtime, whose thread it holds.
pub fn fetch(hub: &Hub, repo: &Repo, cache: &Path, progress: &mut (dyn FnMut(&Progress) + Send)) -> Result<Fetched, HubError> {
    // The client has a runtime of its own, which may not be made inside another one.
    let work = || Fetch::new(hub, repo, cache)?.run(progress);
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|_| Err(HubError::Connection { hub: hub.endpoint(), cause: "the client's thread panicked".to_owned() }))
}

struct Fetch<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    client: Client,
    /// The model's folder in the cache.
    root: PathBuf,
    bytes: u64,
}

impl<'a> Fetch<'a> {
    fn new(hub: &'a Hub, repo: &'a Repo, cache: &Path) -> Result<Self, HubError> {
        Ok(Self { hub, repo, client: hub.client()?, root: cache.join(repo.folder()), bytes: 0 })
    }

    fn run(mut self, progress: &mut (dyn FnMut(&Progress) + Send)) -> Result<Fetched, HubError> {
        let (commit, there) = self.files()?;
        let folder = self.root.join("snapshots").join(&commit);
        for file in wanted(self.repo, &there)? {
            self.file(&commit, file, progress)?;
            if file == INDEX {
                let path = folder.join(file);
                let index = std::fs::read(&path).map_err(|cause| cache_error(&path, &cause))?;
                for part in parts(&index).map_err(|what| self.not_a_hub(what))? {
                    if !there.contains(&part) {
                        return Err(HubError::Incomplete { repo: self.repo.to_string(), missing: part });
                    }
                    self.file(&commit, &part, progress)?;
                }
            }
        }
        if self.repo.commit().is_none() {
            written(&self.root.join("refs").join(&self.repo.revision), commit.as_bytes())?;
        }
        Ok(Fetched { folder, commit, bytes: self.bytes })
    }

    /// The commit of the revision, and the names of its files.
    fn files(&self) -> Result<(String, BTreeSet<String>), HubError> {
        #[derive(Deserialize)]
        struct Model {
            sha: String,
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let (org, name) = (self.repo.org.as_str(), self.repo.name.as_str());
        let url = self.hub.url(&["api", "models", org, name, "revision", &self.repo.revision])?;
        let answer = self.hub.ask(&self.client, &Method::GET, &url, 0)?;
        let response = self.good(answer.response, url.path())?;
        let text = response.text().map_err(|cause| self.hub.lost(&cause))?;
        let model: Model = serde_json::from_str(&text).map_err(|cause| self.not_a_hub(cause.to_string()))?;
        if !is_commit(&model.sha) || self.repo.commit().is_some_and(|commit| commit != model.sha) {
            return Err(self.not_a_hub(format!("the commit of {} is {:?}", self.repo, model.sha)));
        }
        Ok((model.sha, model.siblings.into_iter().map(|one| one.rfilename).collect()))
    }

    /// Brings one file into the snapshot.
    fn file(&mut self, commit: &str, file: &str, progress: &mut (dyn FnMut(&Progress) + Send)) -> Result<(), HubError> {
        let place = self.root.join("snapshots").join(commit).join(file);
        if place.is_file() {
            return Ok(());
        }
        let (org, name) = (self.repo.org.as_str(), self.repo.name.as_str());
        let parts: Vec<&str> = [org, name, "resolve", commit].into_iter().chain(file.split('/')).collect();
        let url = self.hub.url(&parts)?;
        let answer = self.hub.ask(&self.client, &Method::HEAD, &url, 0)?;
        let elsewhere = answer.response.status().is_redirection();
        if !elsewhere {
            self.good(answer.response, url.path())?;
        }
        let About { commit: of, etag, size } = answer.about;
        let said = of.as_deref().is_none_or(|of| of == commit);
        let etag = etag.filter(|etag| is_etag(etag));
        let (true, Some(etag), Some(size)) = (said, etag, size) else {
            let what = format!("it tells neither size nor hash of {file} at {commit}");
            return Err(self.not_a_hub(what));
        };
        let blob =
            Blob { file, path: self.root.join("blobs").join(&etag), size, sha256: (etag.len() == 64).then_some(etag.as_str()) };
        let mut told = |bytes: u64| progress(&Progress { file: file.to_owned(), bytes, of: size });
        self.bytes += blob.fetch(self.hub, &mut told, &|from| {
            let answer = self.hub.ask(&self.client, &Method::GET, &url, from)?;
            self.good(answer.response, url.path())
        })?;
        blob.link(&place, file.matches('/').count())
    }

    /// An answer that is one, or what the status means.
    fn good(&self, response: Response, path: &str) -> Result<Response, HubError> {
        let code = response.headers().get("x-error-code").and_then(|code| code.to_str().ok()).unwrap_or_default();
        let (hub, repo) = (self.hub.endpoint(), self.repo.id());
        Err(match (response.status().as_u16(), code) {
            (200..=299 | 416, _) => return Ok(response),
            (_, "RevisionNotFound") => HubError::NoSuchRevision { hub, repo, revision: self.repo.revision.clone() },
            (_, "EntryNotFound") => HubError::Status { hub, status: 404, path: path.to_owned() },
            (_, "GatedRepo") | (403, _) => HubError::Forbidden { hub, repo },
            (404, _) | (_, "RepoNotFound") => HubError::NoSuchRepo { hub, repo },
            (401, _) => HubError::NeedsToken { hub, repo },
            (status, _) => HubError::Status { hub, status, path: path.to_owned() },
        })
    }

    fn not_a_hub(&self, what: String) -> HubError {
        HubError::NotAHub { hub: self.hub.endpoint(), what }
    }
}

/// Whether this can be the name of a blob: it becomes a part of a path.
fn is_etag(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn cache_error(path: &Path, cause: &std::io::Error) -> HubError {
    HubError::Cache { path: path.to_owned(), cause: cause.to_string() }
}
