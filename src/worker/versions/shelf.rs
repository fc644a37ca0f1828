//! The versions of one pipeline, as calls over HTTP find them: the one that is in force, or the one that is named.
//!
//! What the stream has in memory is lent to calls. Any other version that is named is loaded for them, and kept for a while.

use super::Loader;
use super::lent::{Lent, Loading};
use crate::admin::ApiError;
use crate::config::{BASE, Config, Pipeline, unknown_version};
use crate::function::Function;
use futures_util::FutureExt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

/// See the module.
pub struct Shelf {
    pipeline: String,
    /// Names and digests of their settings, `base` first.
    known: Vec<(Arc<str>, Arc<str>)>,
    stream: Mutex<OfStream>,
    lent: Arc<Lent>,
    /// Builds what is named; not there before the pipeline is, nor after it.
    loader: OnceLock<Weak<Loader>>,
}

/// What is known of the stream's versions.
#[derive(Default)]
struct OfStream {
    /// The version that is in force, or why there is none; nothing before Postgres was asked.
    serves: Option<Result<Arc<str>, String>>,
    loading: BTreeSet<Arc<str>>,
    /// In memory as long as the stream has them.
    built: BTreeMap<Arc<str>, Weak<dyn Function>>,
}

/// A version that answers.
pub struct Picked {
    pub version: Arc<str>,
    /// Digest of its settings.
    pub config: Arc<str>,
    pub function: Arc<dyn Function>,
}

fn refused(status: u16, kind: &'static str, message: String) -> ApiError {
    ApiError { status, kind, message, param: Some("version".to_owned()) }
}

impl Shelf {
    pub fn new(config: &Config, pipeline: &Pipeline, lent: Arc<Lent>) -> Self {
        let digest = |name: &str| Some((name.into(), config.digest_of(&pipeline.as_version(name)?).into()));
        let known = pipeline.versions().into_iter().filter_map(digest).collect();
        Self { pipeline: pipeline.name.clone(), known, stream: Mutex::default(), lent, loader: OnceLock::new() }
    }

    /// Of a pipeline without versions.
    #[cfg(test)]
    pub fn plain(pipeline: &str) -> Self {
        let known = vec![(BASE.into(), "".into())];
        Self { pipeline: pipeline.to_owned(), known, stream: Mutex::default(), lent: Arc::default(), loader: OnceLock::new() }
    }

    /// From now on what is named can be loaded.
    pub fn loads_by(&self, loader: &Arc<Loader>) {
        self.loader.get_or_init(|| Arc::downgrade(loader));
    }

    pub fn names(&self) -> Vec<String> {
        self.known.iter().map(|(name, _)| name.to_string()).collect()
    }

    /// The version that answers where none is named; `None` while none does, or it is not known.
    pub fn in_force(&self) -> Option<Arc<str>> {
        match &self.stream().serves {
            Some(serves) => serves.as_ref().ok().cloned(),
            None => (self.known.len() == 1).then(|| BASE.into()),
        }
    }

    /// The function of a version, or of the one that is in force; `base` is that of the pipeline's own settings. May wait while it is loaded.
    pub async fn pick(&self, named: Option<&str>, base: &Arc<dyn Function>) -> Result<Picked, ApiError> {
        let name: Arc<str> = match named {
            Some(name) => name.into(),
            None => self.serving()?,
        };
        let Some((version, config)) = self.known.iter().find(|(known, _)| *known == name).cloned() else {
            let known: Vec<&str> = self.known.iter().map(|(name, _)| &**name).collect();
            return Err(refused(404, "not_found", unknown_version(&self.pipeline, &name, &known)));
        };
        let function = if &*version == BASE { base.clone() } else { self.function(&version).await? };
        Ok(Picked { version, config, function })
    }

    fn serving(&self) -> Result<Arc<str>, ApiError> {
        if let Some(name) = self.in_force() {
            return Ok(name);
        }
        let why = match &self.stream().serves {
            Some(Err(why)) => format!("the version that is in force does not answer: {why}"),
            _ => "which version is in force is not known yet: Postgres has not answered".to_owned(),
        };
        let names = self.names().join(", ");
        let message =
            format!("{why}; ask again in a moment, or name a version of the pipeline {} with ?version=: {names}", self.pipeline);
        Err(refused(503, "loading", message))
    }

    async fn function(&self, version: &Arc<str>) -> Result<Arc<dyn Function>, ApiError> {
        self.built_or_loading(version)?.await.map_err(|why| {
            let message = format!("version {version} of the pipeline {} cannot be used: {why}", self.pipeline);
            refused(503, "unavailable", message)
        })
    }

    fn built_or_loading(&self, version: &Arc<str>) -> Result<Loading, ApiError> {
        let stream = self.stream();
        if let Some(function) = stream.built.get(version).and_then(Weak::upgrade) {
            return Ok(async move { Ok(function) }.boxed().shared());
        }
        let loader = self.loader.get().and_then(Weak::upgrade).filter(|_| !stream.loading.contains(version));
        let Some(loader) = loader else {
            let message = format!("version {version} of the pipeline {} is being loaded; ask again in a moment", self.pipeline);
            return Err(refused(503, "loading", message));
        };
        Ok(self.lent.get(&self.pipeline, version, || {
            let building = loader.building(version.clone());
            async move { Ok(building.await?.plain) }.boxed().shared()
        }))
    }

    /// The stream is about to load a version. What was loaded for calls alone makes room for it.
    pub fn begins(&self, version: &Arc<str>) {
        self.stream().loading.insert(version.clone());
        self.lent.let_go();
    }

    /// The stream has loaded it, or has not.
    pub fn ended(&self, version: &Arc<str>, plain: Option<&Arc<dyn Function>>) {
        let mut stream = self.stream();
        stream.loading.remove(version);
        if let Some(plain) = plain {
            stream.built.insert(version.clone(), Arc::downgrade(plain));
        }
    }

    /// The stream has a version in force, or says why it has none.
    pub fn serves(&self, which: Result<Arc<str>, String>) {
        self.stream().serves = Some(which);
    }

    fn stream(&self) -> MutexGuard<'_, OfStream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
