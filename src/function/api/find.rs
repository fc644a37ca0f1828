//! From the name of a model to its folder.

use super::Error;
use std::path::{Path, PathBuf};

/// A folder, or the name of one in `$MILLRACE_MODELS`, in `models` here, or in `models` beside the program; the first that is there.
pub fn folder(model: &str) -> Result<PathBuf, Error> {
    let program = std::env::current_exe().ok();
    let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("models"));
    let roots = [std::env::var_os("MILLRACE_MODELS").map(PathBuf::from), Some(PathBuf::from("models")), beside];
    first(model, roots.into_iter().flatten())
}

fn first(model: &str, roots: impl Iterator<Item = PathBuf>) -> Result<PathBuf, Error> {
    let looked: Vec<PathBuf> = std::iter::once(PathBuf::from(model)).chain(roots.map(|root| root.join(model))).collect();
    match looked.iter().find(|path| path.is_dir()) {
        Some(found) => Ok(found.clone()),
        None => Err(Error::NotFound { asked: model.to_owned(), looked }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_looked_for_in_order() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        std::fs::create_dir_all(b.join("m")).unwrap();
        assert_eq!(first("m", [a.clone(), b.clone()].into_iter()).unwrap(), b.join("m"));
        let error = first("n", [a.clone(), b].into_iter()).unwrap_err().to_string();
        assert!(error.contains("`n`") && error.contains(&a.join("n").display().to_string()), "{error}");
    }
}
