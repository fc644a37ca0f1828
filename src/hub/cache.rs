//! A hub's cache as its other users have it: `models--org--name/refs/REVISION` holds a commit, `snapshots/COMMIT/FILE` leads to
//! `blobs/ETAG`.

use super::repo::is_commit;
use super::{Repo, State, look};
use std::path::{Path, PathBuf};

/// What a cache has of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// The folder of the snapshot; that of the model where the revision is not there.
    pub folder: PathBuf,
    /// The commit that the revision stands for.
    pub commit: Option<String>,
    pub state: State,
}

/// Looks a model up; writes nothing.
pub fn cached(cache: &Path, repo: &Repo) -> Cached {
    let folder = cache.join(repo.folder());
    let commit = match repo.commit() {
        Some(commit) => Some(commit.to_owned()),
        None => std::fs::read_to_string(folder.join("refs").join(&repo.revision)).ok().map(|text| text.trim().to_owned()),
    };
    let Some(commit) = commit.filter(|commit| is_commit(commit)) else {
        let state = match folder.is_dir() {
            true => State::Incomplete(format!("the revision {} is not there", repo.revision)),
            false => State::Absent,
        };
        return Cached { folder, commit: None, state };
    };
    let folder = folder.join("snapshots").join(&commit);
    let state = look(&folder);
    Cached { folder, commit: Some(commit), state }
}
