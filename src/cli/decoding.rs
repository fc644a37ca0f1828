//! Events that a command reads off a log, decoded as the worker decodes them: what a value needs of the registry is asked for when it comes.

use crate::config::{Config, Pipeline};
use crate::event::{Decoder, Event, RawEvent, Rejection};
use crate::schema::{Reading, Schemas};
use anyhow::Context;
use std::sync::Arc;
use std::time::Duration;

/// Tries of one question to the registry: who waits at a terminal wants to know.
const TRIES: u32 = 3;

/// See the module.
pub struct Decoding {
    decoder: Decoder,
    /// For payloads that are JSON though the pipeline's values are not.
    json: Decoder,
    schemas: Option<Arc<Schemas>>,
}

/// The event, or the raw one with the reason why it is none.
pub type Decoded = Result<Event, (RawEvent, Rejection)>;

impl Decoding {
    pub fn of(config: &Config, pipeline: &Pipeline) -> anyhow::Result<Self> {
        let json = Decoder::new(pipeline.event, pipeline.paths(), config.limits_of(pipeline).clone());
        let reading = Reading::of(config, pipeline).with_context(|| format!("pipeline `{}`", pipeline.name))?;
        Ok(Self { decoder: json.clone().reading(reading.body()), json, schemas: reading.schemas().cloned() })
    }

    /// Blocks while the registry is asked. That it gives no answer is an error, and says nothing of the event.
    pub fn decode(&self, raw: RawEvent) -> anyhow::Result<Decoded> {
        if let Some(schemas) = &self.schemas
            && let Some(id) = schemas.missing(&raw)
        {
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(fetch(schemas, id)))?;
        }
        Ok(self.decoder.decode(raw))
    }

    /// An event whose payload is written as JSON.
    #[expect(clippy::result_large_err, reason = "the raw event goes on to its dead letter; a box would cost every event")]
    pub fn decode_json(&self, raw: RawEvent) -> Decoded {
        self.json.decode(raw)
    }

    /// Whether the registry answers; `None` is that none is needed.
    pub async fn registry_answers(&self) -> Option<anyhow::Result<()>> {
        let schemas = self.schemas.as_ref()?;
        Some(schemas.answers().await.map_err(Into::into))
    }
}

async fn fetch(schemas: &Schemas, id: u32) -> anyhow::Result<()> {
    let mut tried = 1;
    while let Err(away) = schemas.fetch_once(id).await {
        if tried == TRIES {
            return Err(away).with_context(|| format!("the schema registry does not tell schema {id}"));
        }
        tokio::time::sleep(Duration::from_millis(250) * tried).await;
        tried += 1;
    }
    Ok(())
}
