//! Names such as `org/name` and `org/name@revision`.

/// A model on a hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repo {
    pub org: String,
    pub name: String,
    /// A branch, a tag or a commit; `main` where none is named.
    pub revision: String,
}

impl Repo {
    /// `None` for what is no such name, such as a path or a plain name. Names become parts of paths, so nothing leads out of them.
    pub fn parse(text: &str) -> Option<Self> {
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = repo.split_once('/')?;
        let part = |part: &str| {
            let plain = part.chars().all(|sign| sign.is_ascii_alphanumeric() || "-_.".contains(sign));
            plain && !part.is_empty() && part.len() <= 96 && !part.starts_with('.')
        };
        let good = part(org) && part(name) && revision.split('/').all(part);
        good.then(|| Self { org: org.to_owned(), name: name.to_owned(), revision: revision.to_owned() })
    }

    /// `org/name`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.org, self.name)
    }

    /// Its folder in a cache.
    pub fn folder(&self) -> String {
        format!("models--{}--{}", self.org, self.name)
    }

    /// The revision, where it is a commit already.
    pub fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(self.revision.as_str())
    }
}

impl std::fmt::Display for Repo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}@{}", self.org, self.name, self.revision)
    }
}

/// Whether this is the full name of a commit.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
