//! The schemas of a pipeline's values, by the ids in front of them: fetched ahead of the events, and read from memory.

use super::cache::Cache;
use super::registry::{Away, Registry};
use super::resolve::{Known, Refused, resolve};
use crate::config::{Format, Limits};
use crate::event::{Body, RawEvent, Rejection, schema_id};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// Between two tries, while the registry is away: from this to that.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// After so many ids in a row that the registry has not, none is looked for twice: somebody makes them up.
const SECOND_LOOKS: u32 = 3;

/// See the module.
#[derive(Debug)]
pub struct Schemas {
    registry: Registry,
    format: Format,
    cache: Mutex<Cache>,
    /// Waits for what is not there, so that an event's end never hangs on when it was read.
    waits: bool,
    /// Ids that have no schema, and are not asked for.
    refused: BTreeSet<u32>,
    /// One text at a time is read: one may take much memory while it is.
    reading: Arc<Semaphore>,
    /// Ids in a row that the registry had not.
    unknown: AtomicU32,
    /// Ids that are asked for in vain, each with the reason.
    troubles: watch::Sender<BTreeMap<u32, String>>,
}

impl Schemas {
    pub fn new(registry: Registry, format: Format) -> Self {
        Self {
            registry,
            format,
            cache: Mutex::default(),
            waits: false,
            refused: BTreeSet::new(),
            reading: Arc::new(Semaphore::new(1)),
            unknown: AtomicU32::new(0),
            troubles: watch::Sender::new(BTreeMap::new()),
        }
    }

    /// With `waits`, an id that the registry has not is waited for. Those of `refused` have no schema, whatever the registry says.
    pub fn waiting(self, waits: bool, refused: impl IntoIterator<Item = u32>) -> Self {
        Self { waits, refused: refused.into_iter().collect(), ..self }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of a schema that has to be fetched before this event can be read. What has no id, or none that is right, needs none: it is
    /// refused by itself.
    pub fn missing(&self, raw: &RawEvent) -> Option<u32> {
        let (id, _) = schema_id(raw.payload.as_deref()?).ok()?;
        (!self.cache().keeps(id, Instant::now())).then_some(id)
    }

    /// A batch whose schemas are at hand goes to where it is read.
    pub fn next_round(&self) {
        self.cache().next_round();
    }

    /// One try.
    pub async fn fetch_once(&self, id: u32) -> Result<(), Away> {
        let known = self.resolved(id).await?;
        if let Err(refused) = &known {
            if self.waits && refused.may_change {
                return Err(Away(format!("{}, and this pipeline waits for it; see `unknown_ids`", refused.because.detail)));
            }
            let detail = &*refused.because.detail;
            tracing::warn!(schema = id, detail, "A schema cannot be used; events that name it become dead letters.");
        }
        self.cache().put(id, known, Instant::now());
        Ok(())
    }

    async fn resolved(&self, id: u32) -> Result<Known, Away> {
        if self.refused.contains(&id) {
            let refused = Refused::unknown(format!("schema {id} is one of `unknown_ids` of [schema_registry]"));
            return Ok(Err(Refused { may_change: false, ..refused }));
        }
        let second_look = self.unknown.load(Ordering::Relaxed) < SECOND_LOOKS;
        let known = resolve(&self.registry, self.format, id, second_look, &self.reading).await?;
        match &known {
            Err(refused) if refused.because.code == "schema_unknown" => drop(self.unknown.fetch_add(1, Ordering::Relaxed)),
            _ => self.unknown.store(0, Ordering::Relaxed),
        }
        Ok(known)
    }

    /// Until it is at hand, however long the registry is away.
    pub async fn fetch(self: Arc<Self>, id: u32) {
        let mut pause = PAUSES.0;
        // Also when nobody waits for it any more.
        let over = Over(&self.troubles, id);
        while let Err(away) = self.fetch_once(id).await {
            if self.waits && pause == PAUSES.0 {
                tracing::warn!(schema = id, problem = away.0, "A fold waits for a schema.");
            }
            over.0.send_modify(|troubles| drop(troubles.insert(id, away.0)));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Ids for which events wait while the registry gives no answer, and why it gives none.
    pub fn troubles(&self) -> watch::Receiver<BTreeMap<u32, String>> {
        self.troubles.subscribe()
    }

    /// Whether the registry answers.
    pub async fn answers(&self) -> Result<(), Away> {
        self.registry.answers().await
    }
}

/// The trouble with an id ends with the asking.
struct Over<'a>(&'a watch::Sender<BTreeMap<u32, String>>, u32);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.send_if_modified(|troubles| troubles.remove(&self.1).is_some());
    }
}

impl Body for Schemas {
    fn json<'a>(&self, value: &'a [u8], limits: &Limits) -> Result<Cow<'a, str>, Rejection> {
        let (id, rest) = schema_id(value)?;
        let known = self.cache().get(id);
        match known.as_deref() {
            Some(Ok((schema, _))) => schema.json(rest, limits).map(Cow::Owned).map_err(|mut refused| {
                refused.detail = format!("schema {id}: {}", refused.detail).into();
                refused
            }),
            Some(Err(refused)) => Err(refused.because.clone()),
            None => Err(Rejection::new("schema_unread", format!("schema {id} was not asked for"))),
        }
    }
}
