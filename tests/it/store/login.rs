//! Who is let in.

use super::*;
use std::time::{Duration, Instant};

/// Would catch: a login that is refused and taken for a server that is away, so that nobody starts the worker again; one that is given up while its connections live.
#[tokio::test]
async fn a_login_is_refused_when_nothing_of_it_lives() {
    let url = database().await;
    let mut owner = PgConnection::connect(&url).await.unwrap();
    let role = unique("login");
    let mut does = async |statement: String| sqlx::raw_sql(&statement).execute(&mut owner).await.map(drop).unwrap();
    does(format!("CREATE ROLE {role} LOGIN; GRANT millrace_worker TO {role}")).await;
    let store = store(&url.replace("postgres://postgres@", &format!("postgres://{role}@"))).await;
    does(format!("ALTER ROLE {role} NOLOGIN")).await;
    // The one that it has comes back to the pool in its own time.
    let deadline = Instant::now() + Duration::from_secs(30);
    while store.refused_login().await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "its connection works");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    does(format!("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '{role}'")).await;
    let why = store.refused_login().await.unwrap();
    assert!(why.as_ref().is_some_and(|why| why.contains("refuses the login")), "{why:?}");
    does(format!("ALTER ROLE {role} LOGIN")).await;
    assert_eq!(store.refused_login().await.unwrap(), None);
    drop(store);
}
