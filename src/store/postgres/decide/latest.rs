//! The newest record of each key, for outputs that are declared `keep = "latest"`.
//!
//! A key comes from one partition, where offsets order its records; the round that is decided last wins.

macro_rules! upsert {
    ($from:literal) => {
        concat!(
            "INSERT INTO millrace.latest (pipeline, out_topic, key, run, topic, partition, \"offset\", n, value, function, model, config, \
             label, score) SELECT DISTINCT ON (out_topic, key) pipeline, out_topic, key, run, topic, partition, \"offset\", n, value, function, \
             model, config, label, score FROM ",
            $from,
            " kind = 'prediction' AND key IS NOT NULL ORDER BY out_topic, key, \"offset\" DESC, n DESC \
             ON CONFLICT (pipeline, out_topic, key) DO UPDATE SET run = excluded.run, topic = excluded.topic, partition = excluded.partition, \
             \"offset\" = excluded.\"offset\", n = excluded.n, value = excluded.value, function = excluded.function, model = excluded.model, \
             config = excluded.config, label = excluded.label, score = excluded.score, decided_at = now()"
        )
    };
}

/// Ends the insert of a round's records, and goes on from what it has written.
pub const WITH_ROUND: &str = concat!("RETURNING *), newest AS (", upsert!("written WHERE"), ")\n");

/// After the records of one partition were written in the same transaction: stream, from, to.
pub const ALONE: &str = upsert!("millrace.record WHERE stream = $1 AND \"offset\" >= $2 AND \"offset\" < $3 AND");
