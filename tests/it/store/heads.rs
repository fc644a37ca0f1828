//! Where partitions stand in event time, told and asked for in one statement.

use super::*;
use millrace::store::{Head, Heads};

fn head(partition: i32, claim: Uuid, head_ms: i64) -> Head {
    Head { partition: input(partition), claim, head_ms }
}

/// Would catch: a topic without rows that nobody waits for, a partition that never told anything and is taken for done, a claim that is
/// gone and still tells, a worker that does not learn that its claim is gone, one's own partitions among the others.
#[tokio::test]
async fn heads_are_told_under_the_claim_in_force_and_unknown_ones_hold() {
    let url = database().await;
    let (store, first, second) = opened(&url).await;
    let topics = ["in".to_owned()];
    let both = ["in".to_owned(), "more".to_owned()];
    let tell = async |topics: &[String], mine: &[Head]| store.heads(PIPELINE, 1, topics, mine).await.unwrap();
    let heads = |others, held: &[i32]| Heads { others, held: held.iter().map(|partition| input(*partition)).collect() };
    assert_eq!(tell(&topics, &[head(0, first, 70)]).await, heads(Some(i64::MIN), &[0]), "the other has told nothing");
    assert_eq!(tell(&topics, &[head(1, second, 90)]).await, heads(Some(70), &[1]));
    assert_eq!(tell(&topics, &[head(0, first, 80), head(1, second, 95)]).await, heads(None, &[0, 1]), "there are no others");
    assert_eq!(tell(&both, &[head(0, first, 80), head(1, second, 95)]).await, heads(Some(i64::MIN), &[0, 1]), "no row of `more`");
    assert_eq!(tell(&topics, &[head(0, Uuid::new_v4(), 500)]).await, heads(Some(80), &[]), "that claim is not in force");
    assert_eq!(tell(&topics, &[head(1, second, 95)]).await, heads(Some(80), &[1]), "and has told nothing");

    // Caught up is what somebody says now.
    tell(&topics, &[head(0, first, i64::MAX)]).await;
    assert_eq!(tell(&topics, &[head(1, second, 95)]).await, heads(Some(i64::MAX), &[1]));
    sqlx::raw_sql("UPDATE millrace.head SET told_at = told_at - interval '6 s'")
        .execute(&mut PgConnection::connect(&url).await.unwrap())
        .await
        .unwrap();
    assert_eq!(tell(&topics, &[head(1, second, 95)]).await, heads(Some(i64::MIN), &[1]), "an old word");
    tell(&topics, &[head(0, first, i64::MAX)]).await;
    let claim = Uuid::new_v4();
    store.claim(&key(0), claim, "b").await.unwrap();
    assert_eq!(tell(&topics, &[head(1, second, 95)]).await, heads(Some(i64::MIN), &[1]), "the word of another owner");
    tell(&topics, &[head(0, claim, 60)]).await;
    store.claim(&key(0), Uuid::new_v4(), "c").await.unwrap();
    assert_eq!(tell(&topics, &[head(1, second, 95)]).await, heads(Some(60), &[1]), "where it stood it stands at least");
}
