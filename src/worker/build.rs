//! From one section of the config to the parts of a pipeline.

use super::folds::folding;
use super::models::locate;
use super::schemas::Needed;
use crate::config::recommend::warning_of;
use crate::config::{Config, Delivery, Keep, Pipeline};
use crate::event::Decoder;
use crate::flow::Budget;
use crate::function::Function;
use crate::function::copy::Copy;
use crate::function::embed::Embed;
use crate::function::generate::Generate;
use crate::function::model::{Kind, Model};
use crate::function::recommend::Recommend;
use crate::function::reply;
use crate::function::risk::Risk;
use crate::function::sentiment::Sentiment;
use crate::function::{TEXT_FUNCTIONS, text_function};
use crate::hub::Places;
use crate::inference::Registry;
use crate::pipeline::{Align, BaseAlone, Decode, Folding, Observer, Parts, Settings};
use crate::publisher::kafka::{Guarantee, KafkaPublisher, KafkaPublisherSettings};
use crate::publisher::{PublishError, Publisher};
use crate::record::Provenance;
use crate::schema::{Reading, Schemas};
use crate::source::kafka::{self, KafkaSourceSettings};
use crate::source::readied::readied;
use crate::store::Store;
use anyhow::{Context, anyhow};
use std::sync::Arc;
use std::time::Duration;

#[cfg(test)]
mod pinned;

/// Builds the function of a pipeline; a model is loaded and warm when this returns.
pub fn function(config: &Config, pipeline: &Pipeline, registry: &Registry) -> anyhow::Result<Arc<dyn Function>> {
    let places = Places::of_process();
    let located = pipeline.model.as_deref().filter(|_| pipeline.function != "risk").map(|model| locate(config, model, &places));
    let model = || {
        let Some(located) = &located else { return Err(anyhow!("it needs a `model`")) };
        let model = located.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        Ok((model.name.as_str(), model.folder.as_path(), model.digest.as_deref()))
    };
    let encoder = || {
        let (name, path, digest) = model()?;
        let encoder = registry.encoder(name, path, digest)?;
        if pipeline.pin {
            encoder.pin()?;
        }
        Ok::<_, anyhow::Error>(encoder)
    };
    let writer = || {
        let (name, path, digest) = model()?;
        let writer = registry.writer(name, path, digest)?;
        if pipeline.pin {
            writer.pin()?;
        }
        Ok::<_, anyhow::Error>(writer)
    };
    let options = &pipeline.options;
    Ok(match pipeline.function.as_str() {
        "sentiment" => Arc::new(Sentiment::new(encoder()?)?.with(options).map_err(|error| anyhow!(error))?),
        "embed" => Arc::new(Embed::new(encoder()?).with(options).map_err(|error| anyhow!(error))?),
        "generate" => Arc::new(Generate::new(writer()?, options).map_err(|error| anyhow!(error))?),
        "copy" => Arc::new(Copy::new(options).map_err(|error| anyhow!(error))?),
        "risk" => {
            let declared = config.risk_of(pipeline).context("it needs features; declare them under [[risk.feature]]")?;
            Arc::new(Risk::load(declared, options, pipeline.model.as_deref(), &config.models, &config.base)?)
        }
        "recommend" => {
            let signals = config.recommend_of(pipeline).context("it needs [recommend]")?;
            Arc::new(Recommend::new(signals, options).map_err(|error| anyhow!(error))?)
        }
        "reply" => {
            // A name of a section, or of a place for models.
            let named = |name: &str| {
                let model = locate(config, name, &places).map_err(|error| format!("{error:#}"))?;
                let encoder = registry.encoder(name, &model.folder, model.digest.as_deref());
                let pinned = encoder.and_then(|encoder| if pipeline.pin { encoder.pin().map(|()| encoder) } else { Ok(encoder) });
                pinned.map_err(|error| error.to_string())
            };
            let writer = |name: &str| {
                let model = locate(config, name, &places).map_err(|error| format!("{error:#}"))?;
                let writer = registry.writer(name, &model.folder, model.digest.as_deref());
                let pinned = writer.and_then(|writer| if pipeline.pin { writer.pin().map(|()| writer) } else { Ok(writer) });
                pinned.map_err(|error| error.to_string())
            };
            let open = reply::Open { encoder: &named, writer: &writer };
            Arc::new(reply::load(encoder()?, options, &config.base, open).map_err(|error| anyhow!(error))?)
        }
        text if TEXT_FUNCTIONS.contains(&text) => {
            let (name, path, digest) = model()?;
            let model = match Kind::wanted(text, path, options)? {
                Kind::Encoder => Model::Encoder(encoder()?),
                Kind::Writer => Model::Writer(writer()?),
                Kind::TextToText => {
                    let model = registry.text_to_text(name, path, digest)?;
                    if pipeline.pin {
                        model.pin()?;
                    }
                    Model::TextToText(model)
                }
            };
            text_function(text, model, options).map_err(|error| anyhow!(error))?
        }
        other => return Err(anyhow!("there is no function `{other}`")),
    })
}

/// A pipeline that could be built, and has not joined its group yet.
pub struct Prepared {
    pub settings: Arc<Settings>,
    pub store: Arc<dyn Store>,
    pub publisher: Arc<dyn Publisher>,
    /// Schemas that have to be asked for, where values name them.
    pub schemas: Option<Arc<Schemas>>,
    function: Arc<dyn Function>,
    folding: Option<Folding>,
    source: KafkaSourceSettings,
    decode: Arc<Decode>,
    budget: Budget,
}

impl Prepared {
    /// Joins the group, with the pipeline's own settings alone.
    pub fn spawn(self, observer: Arc<dyn Observer>) -> anyhow::Result<(Arc<Settings>, Parts)> {
        let Self { settings, store, publisher, schemas, function, folding, source, decode, budget } = self;
        let (source, versions) = (kafka::spawn(source)?, Arc::new(BaseAlone));
        let source = match schemas {
            Some(schemas) => readied(source, Arc::new(Needed(schemas))),
            None => source,
        };
        let parts = Parts { source, store, publisher, function, versions, folding, decode, budget, observer };
        Ok((settings, parts))
    }
}

/// Checks the topics and builds all but the source: a neighbour that cannot be built must not end a pipeline that runs.
pub async fn pipeline(
    config: &Config,
    of: &Pipeline,
    function: Arc<dyn Function>,
    store: Arc<dyn Store>,
    budget: Budget,
) -> anyhow::Result<Prepared> {
    let reading = Reading::of(config, of)?;
    let client = client_properties(config);
    let publisher = KafkaPublisher::new(KafkaPublisherSettings {
        guarantee: match of.delivery {
            Delivery::ExactlyOnce => Guarantee::ExactlyOnce,
            Delivery::AtLeastOnce => Guarantee::AtLeastOnce,
        },
        group: of.name.clone(),
        transactional_id: match &config.kafka.instance {
            Some(instance) => format!("{}-{instance}", of.name),
            None => format!("{}-{}", of.name, uuid::Uuid::new_v4().simple()),
        },
        client: client.clone(),
    })?;
    let mut topics: Vec<String> = of.topic.clone();
    topics.extend([of.output_topic(), of.dead_letter_topic()]);
    for topic in &topics {
        let partitions = publisher.partition_count(topic).await.map_err(|error| match error {
            PublishError::Fatal(_) => anyhow!(error),
            _ => anyhow!(error).context(config.kafka.no_answer()),
        })?;
        if of.topic.contains(topic)
            && let Some(detail) = warning_of(config, of, usize::try_from(partitions).ok())
        {
            tracing::warn!(pipeline = of.name, detail, "Each partition has signals of its own.");
        }
    }
    let folding = folding(config, of);
    let run = store.current_run(&of.name).await?.unwrap_or(1);
    let settings = Arc::new(settings(config, of, &*function, folding.as_ref(), run));
    let source = KafkaSourceSettings {
        group: of.name.clone(),
        topics: of.topic.clone(),
        client,
        batch_max: 1_000,
        channel_capacity: 8,
        revoke_wait: Duration::from_secs(3),
    };
    Ok(Prepared {
        settings,
        store,
        publisher: Arc::new(publisher),
        schemas: reading.schemas().cloned(),
        function,
        folding,
        source,
        decode: decode(config, of, &reading),
        budget,
    })
}

/// How a pipeline's events are read.
pub fn decode(config: &Config, of: &Pipeline, reading: &Reading) -> Arc<Decode> {
    let decoder = Decoder::new(of.event, of.paths(), config.limits_of(of).clone()).reading(reading.body());
    #[expect(clippy::result_large_err, reason = "the raw event goes on to its dead letter; a box would cost every event")]
    let decode = move |raw| decoder.decode(raw);
    Arc::new(decode)
}

/// What a pipeline is told in that run.
pub fn settings(config: &Config, of: &Pipeline, function: &dyn Function, folding: Option<&Folding>, run: i32) -> Settings {
    let host = std::fs::read_to_string("/etc/hostname").map_or_else(|_| "host".into(), |name| name.trim().to_owned());
    // A process number alone comes again: in a container it is always 1.
    let life = uuid::Uuid::new_v4().simple().to_string();
    let owner = format!("{host}/{}/{}", std::process::id(), &life[..8]);
    let spec = function.spec();
    Settings {
        provenance: Provenance {
            pipeline: of.name.as_str().into(),
            run,
            function: spec.name.into(),
            model: spec.model.as_str().into(),
            config: config.digest_of(of).into(),
            fold: folding.map(|folding| folding.digest.clone()),
            keeps_latest: of.keep == Keep::Latest,
        },
        mode: of.mode,
        output_topic: of.output_topic().into(),
        dead_letter_topic: of.dead_letter_topic().into(),
        start: of.start,
        on_lost_commits: of.on_lost_commits,
        owner: owner.into(),
        window: 50_000,
        decide_events: 10_000,
        record_bytes: of.record_bytes,
        max_dead_share: of.max_dead_share,
        align: of.align.map(|bound| Align { bound_ms: bound.ms(), topics: of.topic.clone().into() }),
        ends_halted_after: (config.pipeline.len() == 1).then(|| Duration::from_millis(config.admin.halted_stay_ms)),
        drain: Duration::from_secs(25),
        store_patience: Duration::from_millis(config.postgres.statement_timeout_ms) + Duration::from_secs(5),
        backoff: Duration::from_millis(50),
    }
}

/// librdkafka properties that all clients share.
pub fn client_properties(config: &Config) -> Vec<(String, String)> {
    use secrecy::ExposeSecret;
    let kafka = &config.kafka;
    let mut client = vec![
        ("bootstrap.servers".to_owned(), kafka.brokers.clone()),
        ("security.protocol".to_owned(), kafka.security.as_str().to_owned()),
    ];
    let named = [("sasl.mechanism", &kafka.sasl_mechanism), ("sasl.username", &kafka.username)];
    client.extend(named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value.clone()?))));
    client.extend(kafka.password.iter().map(|password| ("sasl.password".to_owned(), password.expose_secret().to_owned())));
    let key_password = kafka.key_password.iter().map(|password| password.expose_secret().to_owned());
    client.extend(key_password.map(|password| ("ssl.key.password".to_owned(), password)));
    let files = [
        ("ssl.ca.location", &kafka.ca_file),
        ("ssl.certificate.location", &kafka.cert_file),
        ("ssl.key.location", &kafka.key_file),
    ];
    client.extend(files.into_iter().filter_map(|(name, path)| Some((name.to_owned(), path.as_ref()?.display().to_string()))));
    client.extend(kafka.properties.iter().map(|(name, value)| (name.clone(), value.clone())));
    client
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::offline::{Offline, Plain, call};
    use serde_json::json;
    use std::path::Path;

    /// Would catch: a bank or a model that is looked for where the program was started, a sample whose options are refused.
    #[tokio::test]
    async fn the_sample_of_replies_suggests() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/reply.toml");
        let config = Config::load(&path, &std::collections::BTreeMap::new()).unwrap();
        let registry = Registry::default();
        let reply = function(&config, &config.pipeline[0], &registry).unwrap();
        let input = json!({ "id": "m1", "text": "Where is my parcel?", "customer": { "name": "Ann" } });
        let output = call(&*reply, &mut *Plain.sitting(), 0, &[input]).await.unwrap().remove(0);
        assert_eq!(output["suggestions"][0]["text"], "Hello Ann, you can follow your parcel on the page My orders.", "{output}");
        assert!(output["sentiment"]["label"].is_string() && registry.loaded().len() == 2, "{output}");

        let mut wrong = config.pipeline[0].clone();
        wrong.options.insert("intent_model".to_owned(), "intent".into());
        let error = function(&config, &wrong, &registry).err().unwrap().to_string();
        assert!(error.contains("`intent_model`") && error.contains("[models.intent]") && error.contains("Looked for"), "{error}");
    }

    /// Would catch: a desk that is answered, a reply that is suggested although it was sent, a short message that is read alone, a
    /// sitting that forgets; a plain text that is refused.
    #[tokio::test]
    async fn the_sample_of_a_stream_of_replies_knows_the_conversation() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/samples/reply-stream.toml");
        let config = Config::load(&path, &std::collections::BTreeMap::new()).unwrap();
        let reply = function(&config, &config.pipeline[0], &Registry::default()).unwrap();
        let message = |minute: usize, role: &str, text: &str| {
            let time = format!("2026-03-01T09:{minute:02}:00Z");
            json!({ "id": minute, "conversation": "c", "time": time, "role": role, "text": text, "customer": { "name": "Ann" } })
        };
        let sent = "Hello Ann, you can follow your parcel on the page My orders.";
        let talk = [
            message(0, "customer", "Where is my parcel?"),
            message(4, "agent", &sent.to_uppercase()),
            message(5, "customer", "I asked where my parcel is, and I still do not know."),
            message(7, "customer", "and?"),
            message(8, "robot", "x"),
            json!("Where is my parcel?"),
            json!({ "text": "Where is my parcel?" }),
        ];
        let mut sitting = super::super::folds::offline(&config, &config.pipeline[0]).sitting();
        let said = call(&*reply, &mut *sitting, 0, &talk).await.unwrap();
        let first = |output: &serde_json::Value| output["suggestions"][0]["source"].as_str().unwrap_or_default().to_owned();
        assert_eq!((first(&said[0]).as_str(), &said[0]["suggestions"][0]["text"]), ("parcel", &json!(sent)), "{}", said[0]);
        assert_eq!(said[1], json!({ "skipped": "agent" }));
        assert_eq!(first(&said[2]), "parcel-late", "{}", said[2]);
        assert!(!said[2].to_string().contains("My orders"), "{}", said[2]);
        let told = |output: &serde_json::Value| ["turn", "waiting_ms", "context", "status"].map(|name| output[name].clone());
        assert_eq!(told(&said[0]), [json!(1), json!(0), json!(0), json!("ok")]);
        assert_eq!(told(&said[3]), [json!(3), json!(120_000), json!(1), json!("ok")]);
        assert_eq!(first(&said[3]), "parcel-late", "{}", said[3]);
        assert_eq!(said[4]["rejected"]["code"], "unknown_role");
        assert!(said[5]["turn"].is_null() && first(&said[6]) == "parcel-late" && said[5] == said[6], "{}", said[5]);
        assert_eq!(call(&*reply, &mut *sitting, 7, &talk[3..4]).await.unwrap()[0]["turn"], 3);
    }
}
