//! Versions of a function of the test's own.

use super::*;
use crate::function::copy::Copy;
use std::collections::BTreeMap;

/// Would catch: calls of a swapped-in version that do not count as work, so that challengers run beside a loaded stream.
#[tokio::test]
async fn calls_of_a_version_count_as_work() {
    let text =
        "[[pipeline]]\nname = 'p'\ntopic = 't'\nevent = 'json'\nfunction = 'own:waits'\n[pipeline.version.v2]\noptions = {}";
    let config = Arc::new(Config::parse(text, "test.toml", &BTreeMap::new()).unwrap());
    let pipeline = config.pipeline[0].clone();
    let own = Own::new().with("waits", |_| Ok(Waits(Copy::new(&serde_json::Map::new())?)));
    let work = Work::default();
    let loader = Loader {
        shelf: Arc::new(Shelf::new(&config, &pipeline, Arc::default())),
        config,
        pipeline,
        own,
        options: Options::default(),
        meter: Meter::default(),
        work: work.clone(),
        trial: None,
        declare: Arc::new(|_| {}),
    };
    let version = loader.load("v2".into()).await.unwrap();
    let mut call = version.function.call(&[]);
    assert!(futures_util::poll!(&mut call).is_pending());
    let spare = tokio::time::timeout(std::time::Duration::from_millis(100), work.spare()).await;
    assert!(spare.is_err(), "a call is under way");
    drop(call);
    work.spare().await;
}

/// Never comes back.
struct Waits(Copy);

impl Function for Waits {
    fn spec(&self) -> &crate::function::Spec {
        self.0.spec()
    }

    fn call<'a>(
        &'a self,
        _: &'a [crate::function::Input],
    ) -> BoxFuture<'a, Result<Vec<crate::function::Outcome>, crate::function::CallError>> {
        std::future::pending().boxed()
    }
}
