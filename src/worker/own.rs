//! Functions that a program brings along, beside those of this crate.

use super::build;
use crate::config::{Config, OWN, Pipeline};
use crate::function::Function;
use crate::inference::Registry;
use anyhow::anyhow;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;

/// Why a function cannot be built; the text says what to change.
pub type Refused = Box<dyn Error + Send + Sync>;

type Maker = Arc<dyn Fn(&Pipeline) -> Result<Arc<dyn Function>, Refused> + Send + Sync>;

/// Functions of a program's own, by name. A config calls them as `function = "own:NAME"`.
#[derive(Clone, Default)]
pub struct Own {
    makers: BTreeMap<String, Maker>,
}

impl Own {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function. It is built once for each pipeline that names it, before the pipeline joins its group; `options` of the pipeline
    /// are its own to read.
    #[must_use]
    pub fn with<F>(mut self, name: &str, make: impl Fn(&Pipeline) -> Result<F, Refused> + Send + Sync + 'static) -> Self
    where
        F: Function + 'static,
    {
        let make = move |pipeline: &Pipeline| -> Result<Arc<dyn Function>, Refused> { Ok(Arc::new(make(pipeline)?)) };
        self.makers.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// Builds the function of a pipeline, one of these or one of the crate's.
    pub(crate) fn function(
        &self,
        config: &Config,
        pipeline: &Pipeline,
        registry: &Registry,
    ) -> anyhow::Result<Arc<dyn Function>> {
        let Some(name) = pipeline.function.strip_prefix(OWN) else { return build::function(config, pipeline, registry) };
        match self.makers.get(name) {
            Some(make) => make(pipeline).map_err(|cause| anyhow!("function `{OWN}{name}`: {cause}")),
            None if self.makers.is_empty() => Err(anyhow!(
                "`{OWN}{name}` is a function of a program's own, and this program has none: run the one that brings it"
            )),
            None => {
                let known: Vec<&str> = self.makers.keys().map(String::as_str).collect();
                Err(anyhow!("this program brings no function `{name}`; it has: {}", known.join(", ")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Own;
    use crate::config::Config;
    use crate::function::copy::Copy;
    use crate::inference::Registry;
    use std::collections::BTreeMap;

    fn config(function: &str) -> Config {
        let text = format!("[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = '{function}'");
        Config::parse(&text, "test.toml", &BTreeMap::new()).unwrap()
    }

    /// Would catch: a config of an own function that is refused, a program that runs another function than it was told, an error that
    /// does not say what to do.
    #[test]
    fn own_functions_are_built_by_their_name() {
        let own = Own::new().with("mine", |pipeline| Copy::new(&pipeline.options).map_err(Into::into));
        let build = |own: &Own, function: &str| {
            let config = config(function);
            assert_eq!(config.findings(), [""; 0], "{function}");
            own.function(&config, &config.pipeline[0], &Registry::default())
        };
        assert_eq!(build(&own, "own:mine").unwrap().spec().name, "copy");
        assert_eq!(build(&own, "copy").unwrap().spec().name, "copy");
        let error = |own: &Own| build(own, "own:other").err().unwrap().to_string();
        assert!(error(&own).contains("it has: mine"), "{}", error(&own));
        assert!(error(&Own::new()).contains("run the one that brings it"), "{}", error(&Own::new()));
        assert!(config("own:").findings()[0].contains("is not known"), "a name there must be");
    }
}
