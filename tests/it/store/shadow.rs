//! What shadows count, written by workers under their own role.

use crate::support::{database, store};
use millrace::store::postgres::{ShadowCount, ShadowFlip, ShadowStore, Versus};
use sqlx::{Connection, PgConnection};

const DAY_MS: i64 = 86_400_000;

fn versus() -> Versus {
    let [pipeline, champion, champion_config, challenger, challenger_config] = ["p", "a@1", "c", "b@2", "d"].map(str::to_owned);
    Versus { pipeline, champion, champion_config, challenger, challenger_config }
}

fn count(what: &str, count: i64, total: f64) -> ShadowCount {
    ShadowCount { what: what.to_owned(), one: "x".to_owned(), other: String::new(), count, total }
}

fn flip(offset: i64) -> ShadowFlip {
    ShadowFlip {
        run: 1,
        topic: "in".to_owned(),
        partition: 0,
        offset,
        champion_label: "yes".to_owned(),
        champion_score: Some(0.5),
        challenger_label: "no\0".repeat(300),
        challenger_score: None,
    }
}

/// Would catch: counts of a second worker that take the place of the first one's, a flip that is kept twice, a label that Postgres cannot hold and that
/// spoils the rest, rights that a worker lacks or has too many of, a retention that takes what is new or leaves what is old.
#[tokio::test(flavor = "multi_thread")]
async fn workers_add_to_the_same_counts_and_remove_only_what_is_old() {
    let url = database().await;
    let separator = if url.contains('?') { '&' } else { '?' };
    let of_worker = format!("{url}{separator}options=-c%20role%3Dmillrace_worker");
    let workers = [ShadowStore::new(&of_worker).unwrap(), ShadowStore::new(&of_worker).unwrap()];
    for worker in &workers {
        worker.add(&versus(), &[count("compared", 3, 0.0), count("difference", 2, -0.5)], &[flip(7), flip(8)]).await.unwrap();
    }
    workers[0].add(&versus(), &[], &[]).await.unwrap();
    let reader = store(&url).await;
    let counts = reader.shadow_counts("p", DAY_MS).await.unwrap();
    assert_eq!(counts, [(versus(), count("compared", 6, 0.0)), (versus(), count("difference", 4, -1.0))]);
    let flips = reader.shadow_flips("p", DAY_MS, 10).await.unwrap();
    let offsets: Vec<i64> = flips.iter().map(|(_, flip)| flip.offset).collect();
    assert_eq!((offsets, flips[0].1.challenger_label.len()), (vec![8, 7], 200));
    assert!(reader.shadow_counts("q", DAY_MS).await.unwrap().is_empty());

    assert_eq!(workers[1].forget("p", 1).await.unwrap(), 0, "nothing of the last day goes");
    let mut owner = PgConnection::connect(&url).await.unwrap();
    for old in [
        "UPDATE millrace.shadow SET hour = hour - interval '3 days' WHERE what = 'compared'",
        "UPDATE millrace.shadow_flip SET at = at - interval '3 days' WHERE \"offset\" = 7",
    ] {
        sqlx::raw_sql(old).execute(&mut owner).await.unwrap();
    }
    assert_eq!(workers[1].forget("q", DAY_MS).await.unwrap(), 0, "another pipeline's stay");
    assert_eq!(workers[1].forget("p", 2 * DAY_MS).await.unwrap(), 2);
    assert_eq!(reader.shadow_counts("p", DAY_MS * 30).await.unwrap().len(), 1);
    sqlx::raw_sql("SET ROLE millrace_worker").execute(&mut owner).await.unwrap();
    for forbidden in
        ["DELETE FROM millrace.shadow", "DELETE FROM millrace.shadow_flip", "UPDATE millrace.shadow_flip SET run = 2"]
    {
        let error = sqlx::raw_sql(forbidden).execute(&mut owner).await.expect_err(forbidden);
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{forbidden}: {error}");
    }
}
