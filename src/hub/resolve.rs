//! The places where a model is looked for, in their order.

use super::{Hub, HubError, Repo, State, cached, fetch, look};
use std::path::{Path, PathBuf};

/// Values that switch offline on.
const ON: [&str; 4] = ["1", "true", "on", "yes"];

/// Where models are looked for; what is `None` is not looked at.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Where relative paths start.
    pub base: PathBuf,
    /// `$MILLRACE_MODELS`.
    pub models: Option<PathBuf>,
    /// `models` in the working folder.
    pub here: Option<PathBuf>,
    /// `models` beside the program.
    pub beside: Option<PathBuf>,
    /// A hub's cache.
    pub cache: Option<PathBuf>,
    pub hub: Hub,
    pub allow_download: bool,
    /// The variable that forbids downloads, where one does.
    pub offline: Option<&'static str>,
}

/// A model's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub folder: PathBuf,
    /// What it is called in answers: the folder's own name, or `org/name`.
    pub name: String,
    /// Of a model from a hub.
    pub commit: Option<String>,
}

/// A place that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub path: PathBuf,
    /// What kind of place it is.
    pub what: &'static str,
    pub state: State,
}

/// A model that is nowhere.
#[derive(Debug, Clone, thiserror::Error)]
#[error("there is no model `{asked}`. Looked for, in this order:{}\n{help}", list(looked, hub))]
pub struct Missing {
    pub asked: String,
    pub looked: Vec<Place>,
    /// What the hub said, or why it was not asked.
    pub hub: String,
    /// What to do.
    pub help: String,
}

fn list(looked: &[Place], hub: &str) -> String {
    let one = |place: &Place| format!("\n  {} ({}): {}", place.path.display(), place.what, place.state);
    looked.iter().map(one).chain((!hub.is_empty()).then(|| format!("\n  {hub}"))).collect()
}

impl Places {
    /// Of this process: its environment, its working folder and the folder of its program.
    pub fn of_process() -> Self {
        let program = std::env::current_exe().ok();
        let beside = program.as_deref().and_then(Path::parent).map(|folder| folder.join("models"));
        Self { beside, ..Self::of(&|name| std::env::var(name).ok()) }
    }

    /// Of an environment. Downloads are not allowed.
    pub fn of(env: &dyn Fn(&str) -> Option<String>) -> Self {
        let given = |name: &str| env(name).filter(|value| !value.is_empty());
        let folder = |name: &str| given(name).map(PathBuf::from);
        let home = || {
            let under = |root: PathBuf| root.join("huggingface");
            let known = folder("HF_HOME").or_else(|| folder("XDG_CACHE_HOME").map(under));
            known.or_else(|| folder("HOME").map(|home| under(home.join(".cache"))))
        };
        let cache = folder("HF_HUB_CACHE").or_else(|| home().map(|home| home.join("hub")));
        let is_on = |name: &&'static str| given(name).is_some_and(|value| ON.contains(&value.to_ascii_lowercase().as_str()));
        Self {
            base: PathBuf::new(),
            models: folder("MILLRACE_MODELS"),
            here: Some(PathBuf::from("models")),
            beside: None,
            cache,
            hub: Hub::new(given("HF_ENDPOINT").as_deref(), given("HF_TOKEN")),
            allow_download: false,
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].into_iter().find(is_on),
        }
    }

    /// The same with relative paths from another folder.
    pub fn from(self, base: &Path) -> Self {
        Self { base: base.to_owned(), ..self }
    }

    /// The same where models may be fetched.
    pub fn allowing(self, allow_download: bool) -> Self {
        Self { allow_download, ..self }
    }

    /// The folders of models by their name, in the order in which they are looked at, and what each is called.
    pub fn roots(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        let all = [(&self.models, "$MILLRACE_MODELS"), (&self.here, "models here"), (&self.beside, "models beside the program")];
        all.into_iter().filter_map(|(root, what)| Some((root.as_deref()?, what)))
    }

    /// The folder of a model; the first place that has all of it. Blocks while it looks, and while it fetches.
    pub fn find(&self, asked: &str) -> Result<Found, Missing> {
        let repo = Repo::parse(asked);
        let mut looked = Vec::new();
        let own = |folder: &Path| {
            let name = folder.file_name().map_or_else(|| asked.to_owned(), |name| name.to_string_lossy().into_owned());
            Found { folder: folder.to_owned(), name, commit: None }
        };
        let path = self.base.join(asked);
        // Who writes down a path means it: what it lacks is for the reader of the folder to say.
        if !asked.is_empty() && path.is_dir() {
            return Ok(own(&path));
        }
        let is_file = path.is_file();
        looked.push(Place { path, what: "a folder", state: State::Absent });
        // A path with a root of its own would lead out of these places.
        for (root, what) in self.roots().filter(|_| !Path::new(asked).is_absolute()) {
            let path = root.join(asked);
            match look(&path) {
                State::Found => return Ok(own(&path)),
                state => looked.push(Place { path, what, state }),
            }
        }
        if is_file {
            return Err(Missing { asked: asked.to_owned(), looked, hub: String::new(), help: of_file(asked) });
        }
        let meant = || self.near(asked).map_or_else(String::new, |near| format!("Did you mean `{near}`? "));
        let Some(repo) = repo else {
            let help = format!("{}Name a folder, or `org/name` of a hub. What there is: millrace models", meant());
            return Err(Missing { asked: asked.to_owned(), looked, hub: String::new(), help });
        };
        let of_hub = |folder: PathBuf, commit: Option<String>| Found { folder, name: repo.id(), commit };
        if let Some(cache) = &self.cache {
            let found = cached(cache, &repo);
            if found.state == State::Found {
                return Ok(of_hub(found.folder, found.commit));
            }
            looked.push(Place { path: found.folder, what: "the hub's cache", state: found.state });
        }
        match self.download(&repo) {
            Ok((folder, commit)) => Ok(of_hub(folder, Some(commit))),
            Err((hub, help)) => Err(Missing { asked: asked.to_owned(), looked, hub, help: meant() + &help }),
        }
    }

    /// The folder of a model whose name is nearly what was asked for: beside it, or in one of the places.
    fn near(&self, asked: &str) -> Option<String> {
        let path = self.base.join(asked);
        let (wanted, above) = (path.file_name()?.to_string_lossy().into_owned(), Path::new(asked).parent());
        let beside = path.parent().filter(|_| asked.contains('/')).map(|folder| (folder, above.unwrap_or(Path::new(""))));
        let places = self.roots().map(|(root, _)| (root, Path::new("")));
        let near = |(root, shown): (&Path, &Path)| {
            let root = if root.as_os_str().is_empty() { Path::new(".") } else { root };
            let models = std::fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
            let named = models.filter(|path| path.join("config.json").is_file()).filter_map(|path| {
                let name = path.file_name()?.to_string_lossy().into_owned();
                let distance = strsim::damerau_levenshtein(&wanted, &name);
                (1..=1 + name.len() / 3).contains(&distance).then(|| (distance, shown.join(&name).display().to_string()))
            });
            named.min()
        };
        beside.into_iter().chain(places).filter_map(near).min().map(|(_, name)| name)
    }

    /// Fetches where that is allowed; else says why it is not, and what to do.
    fn download(&self, repo: &Repo) -> Result<(PathBuf, String), (String, String)> {
        let command = format!("millrace models fetch {repo}");
        let hub = self.hub.endpoint();
        if let Some(variable) = self.offline {
            return Err((format!("{hub}: not asked, {variable} is on"), format!("Fetch it: env -u {variable} {command}")));
        }
        if !self.allow_download {
            return Err((format!("{hub}: not asked, downloads are not allowed"), format!("Fetch it: {command}")));
        }
        let Some(cache) = &self.cache else {
            let why = format!("{hub}: not asked, there is no cache to write to");
            return Err((why, format!("Fetch it: HF_HUB_CACHE=DIR {command}")));
        };
        match fetch(&self.hub, repo, cache, &mut |_| {}) {
            Ok(fetched) => Ok((fetched.folder, fetched.commit)),
            Err(error) => {
                let help = match &error {
                    HubError::NeedsToken { .. } | HubError::NoSuchRepo { .. } => format!("Try: HF_TOKEN=TOKEN {command}"),
                    HubError::Cache { .. } => format!("Try: HF_HUB_CACHE=DIR {command}"),
                    _ => format!("Try again: {command}"),
                };
                Err((error.to_string(), help))
            }
        }
    }
}

/// What to do with a file where a folder is wanted.
fn of_file(asked: &str) -> String {
    let path = Path::new(asked);
    match path.extension().and_then(|end| end.to_str()) {
        Some("gguf" | "bin") => format!("It is a file; make a model folder of it: millrace models import {asked} DIR"),
        _ => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            format!("It is a file; a model is a folder: name {}", folder.display())
        }
    }
}
