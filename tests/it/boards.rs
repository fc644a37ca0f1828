//! Dashboards, alerts and runbooks, held against what there is: the metrics that a worker tells, the schema, the commands, the halts.

mod files;
mod kafka;
mod known;
mod night;
mod promql;
mod staged;

use crate::support::{database, http, unique};
use files::{blocks, dashboards, pages, queries, rules, text};
use known::Known;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection, Row};
use staged::Staged;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// Panels whose answer may be empty after a run in which nothing went wrong.
const MAY_BE_EMPTY: [&str; 1] = ["decisions: Claims without progress"];

/// Would catch: a metric that was renamed, a label that no series has, a bucket that is not there, a legend or an alert's text that names
/// a label which the query has dropped.
#[tokio::test(flavor = "multi_thread")]
async fn queries_ask_for_what_a_worker_tells() {
    let mut staged = Staged::run().await;
    let (status, scraped) = http::get(&staged.address(), "/metrics").await;
    assert_eq!(status, 200);
    let known = Known::of(&scraped);
    known.worker_has_told(&scraped);
    let mut asked = BTreeSet::new();
    for panel in queries("expr") {
        let query = known.check(&panel.name, &panel.query);
        for label in braced(&panel.legend) {
            assert!(
                label == "le" || query.named.contains(&label),
                "{}: the legend names {label}, the query has dropped it",
                panel.name
            );
        }
        asked.extend(query.used.into_iter().map(|used| used.metric));
    }
    for rule in rules() {
        let query = known.check(&rule.name, &rule.expr);
        let mut labels = query.named;
        if labels.is_empty() {
            labels.extend(["instance".to_owned(), "job".to_owned()]);
        }
        for label in format!("{} {}", rule.summary, rule.description).split("$labels.").skip(1) {
            let label = label.split(|of: char| !of.is_ascii_alphanumeric() && of != '_').next().unwrap();
            assert!(labels.contains(label), "{}: its text names {label}, the query has dropped it", rule.name);
        }
    }
    for (page, text) in pages() {
        for line in blocks(&text, "promql").iter().flat_map(|block| block.lines()) {
            known.check(&page, line);
        }
    }
    let unasked: Vec<&String> =
        known.names().filter(|name| !asked.iter().any(|metric| metric.starts_with(name.as_str()))).collect();
    assert!(unasked.is_empty(), "no dashboard shows {unasked:?}");
    assert_eq!(staged.stop(), Some(0), "{}", staged.log());
}

/// Labels in double braces.
fn braced(legend: &str) -> Vec<String> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim().to_owned()).collect()
}

/// Would catch: a view or a column that is not there, a right that the reader lacks, a query that only works on rows that nobody has, a panel
/// that stays empty, a list of pipelines without any, rows of a replay among those of its pipeline.
#[tokio::test(flavor = "multi_thread")]
async fn queries_of_postgres_are_answered_to_the_reader() {
    let mut staged = Staged::run().await;
    assert_eq!(staged.stop(), Some(0), "{}", staged.log());
    let mut connection = PgConnection::connect(&staged.url).await.unwrap();
    let replays = replayed(&mut connection).await;
    connection.execute("SET ROLE millrace_reader").await.unwrap();
    let all = queries("rawSql");
    assert!(all.len() > 40, "only {} queries were found", all.len());
    for panel in all {
        for chosen in [staged.pipelines(), Vec::new(), replays.clone()] {
            let found = connection.fetch_all(filled(&panel.query, &chosen).as_str()).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {error}\n{}", panel.name, panel.query));
            let empty = chosen != staged.pipelines() || MAY_BE_EMPTY.contains(&panel.name.as_str());
            assert!(empty || !found.is_empty(), "{} has no rows\n{}", panel.name, panel.query);
            for name in found.iter().filter_map(|row| row.try_get::<String, _>("pipeline").ok()) {
                assert!(!replays.contains(&name), "{} shows a replay\n{}", panel.name, panel.query);
            }
            if let (Some(first), "time_series") = (found.first(), panel.format.as_str()) {
                assert_eq!(sqlx::Column::name(first.column(0)), "time", "{}: series begin with a column `time`", panel.name);
            }
        }
    }
    for (page, text) in pages() {
        for block in blocks(&text, "sql") {
            let found = connection.fetch_all(block.replace("NAME", &staged.pipelines()[0]).as_str()).await;
            found.unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
        }
    }
    let denied = connection.execute("DELETE FROM millrace.record").await;
    assert!(denied.is_err(), "whoever reads dashboards must not be able to delete");
}

/// Would catch: a look at sessions that leaves out those of others, where somebody's lock is looked for; a page that names a right which is not enough, or one
/// that is not needed.
#[tokio::test(flavor = "multi_thread")]
async fn runbooks_find_the_sessions_of_others() {
    let url = database().await;
    let mut owner = PgConnection::connect(&url).await.unwrap();
    // Who reads the runbook has a login as `millrace_dashboard` of roles.sql, and with the right that the pages name.
    let (login, dashboard, operator) = (unique("somebody"), unique("dashboard"), unique("operator"));
    for (role, rights) in [(&login, ""), (&dashboard, "millrace_reader"), (&operator, "millrace_reader, pg_read_all_stats")] {
        let grant = if rights.is_empty() { String::new() } else { format!("; GRANT {rights} TO {role}") };
        owner.execute(format!("CREATE ROLE {role} LOGIN{grant}").as_str()).await.unwrap();
    }
    let connected = async |role: &str| PgConnectOptions::from_str(&url).unwrap().username(role).connect().await.unwrap();
    let mut other = connected(&login).await;
    let asleep = tokio::spawn(async move { other.execute("SELECT pg_sleep(600)").await.is_err() });
    let sleeps = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{login}' AND wait_event = 'PgSleep'");
    let deadline = Instant::now() + Duration::from_secs(30);
    while owner.fetch_one(sleeps.as_str()).await.unwrap().get::<i64, _>(0) == 0 {
        assert!(Instant::now() < deadline, "the session of {login} does not sleep");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pages = pages();
    let looks: Vec<(&String, String)> = pages
        .iter()
        .flat_map(|(page, text)| blocks(text, "sql").into_iter().map(move |block| (page, block)))
        .filter(|(_, block)| block.contains("pg_stat_activity"))
        .collect();
    assert!(looks.len() >= 3, "{looks:?}");
    let (mut unseeing, mut seeing) = (connected(&dashboard).await, connected(&operator).await);
    for (page, block) in looks {
        // One that counts has no names. Nobody else sleeps in this test's database, which is all that the pages look at.
        let sign = if block.contains("usename") { login.as_str() } else { "PgSleep" };
        let asked = format!("SELECT to_jsonb(found)::text FROM ({block}) found");
        let finds = async |by: &mut PgConnection| {
            let rows = by.fetch_all(asked.as_str()).await.unwrap();
            rows.iter().any(|row| row.get::<String, _>(0).contains(sign))
        };
        assert!(finds(&mut seeing).await, "{page}: who has pg_read_all_stats does not find the session of {login}");
        assert!(!finds(&mut unseeing).await, "{page}: any login sees it, and the page wants a right");
        assert!(pages[page].contains("pg_read_all_stats"), "{page} does not say which login sees the sessions of others");
    }
    asleep.abort();
    let ended = format!(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename IN ('{login}', '{dashboard}', '{operator}')"
    );
    owner.execute(ended.as_str()).await.unwrap();
    owner.execute(format!("DROP ROLE {login}, {dashboard}, {operator}").as_str()).await.unwrap();
}

/// A replay of each pipeline, with its partitions and records; their names.
async fn replayed(connection: &mut PgConnection) -> Vec<String> {
    let copied = "INSERT INTO millrace.replay (pipeline, number, name, plan)
           SELECT pipeline, 1, pipeline || '.replay-1', '{}' FROM millrace.stream_partition GROUP BY pipeline;
         INSERT INTO millrace.stream_partition (pipeline, run, topic, partition, owner, next_offset, published_offset, fold_from, mode)
           SELECT pipeline || '.replay-1', run, topic, partition, owner, next_offset, published_offset, fold_from, mode FROM millrace.stream_partition;
         INSERT INTO millrace.record (stream, pipeline, run, topic, partition, \"offset\", n, kind, out_topic, key, value, function, model, config, label, score)
           SELECT s.stream, s.pipeline, r.run, r.topic, r.partition, r.\"offset\", n, kind, out_topic, key, value, function, model, config, label, score
           FROM millrace.record r JOIN millrace.stream_partition s ON s.pipeline = r.pipeline || '.replay-1' AND s.topic = r.topic AND s.partition = r.partition";
    connection.execute(copied).await.unwrap();
    let names = connection.fetch_all("SELECT name FROM millrace.replay ORDER BY 1").await.unwrap();
    names.iter().map(|row| row.get(0)).collect()
}

/// A query as Grafana sends it.
fn filled(query: &str, pipelines: &[String]) -> String {
    let list = pipelines.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(",");
    let filled = query
        .replace("$__timeGroupAlias(decided_at, $__interval)", "floor(extract(epoch from decided_at)/60)*60 AS \"time\"")
        .replace("$__timeFilter(decided_at)", "decided_at BETWEEN now() - interval '1 day' AND now() + interval '1 minute'")
        .replace("${pipeline:sqlstring}", &list);
    assert!(!filled.contains('$'), "a macro is not known: {filled}");
    filled
}

/// Would catch: a dashboard that Grafana takes for another or that overwrites one, a panel that nobody can read, a link to no page.
#[test]
fn dashboards_are_whole() {
    let (mut uids, pages) = (BTreeSet::new(), pages());
    for (name, board) in dashboards() {
        assert_eq!(board["uid"], format!("millrace-{name}"));
        assert!(uids.insert(board["uid"].to_string()), "{name}: the uid is taken");
        assert!(board.get("id").is_none(), "{name}: an id belongs to one Grafana");
        assert!(board["schemaVersion"].as_u64().unwrap() >= 41 && !board["description"].as_str().unwrap().is_empty(), "{name}");
        for panel in board["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
            let title = panel["title"].as_str().unwrap();
            assert!(panel["description"].as_str().unwrap().len() > 10, "{name}: {title} is not described");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}: {title}");
            let position = &panel["gridPos"];
            assert!(position["x"].as_u64().unwrap() + position["w"].as_u64().unwrap() <= 24, "{name}: {title} is too wide");
            for link in panel["links"].as_array().into_iter().flatten() {
                let page = link["url"].as_str().unwrap().strip_prefix("${runbooks}/").and_then(|rest| rest.strip_suffix(".md"));
                assert!(page.is_some_and(|page| pages.contains_key(page)), "{name}: {title} links to {link}");
            }
        }
    }
    assert_eq!(uids.len(), 8);
}

/// Would catch: an alert that nobody can act on, a page that nobody finds.
#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let (alerts, pages, list) = (rules().into_iter().filter(|rule| rule.alerts), pages(), text("docs/runbooks/README.md"));
    let mut led_to = BTreeSet::new();
    for alert in alerts {
        let name = &alert.name;
        assert!(matches!(alert.severity.as_str(), "page" | "ticket"), "{name}: severity {}", alert.severity);
        assert!(!alert.summary.is_empty() && !alert.description.is_empty(), "{name} says nothing");
        let page = alert.runbook.strip_prefix("docs/runbooks/").and_then(|rest| rest.strip_suffix(".md")).unwrap();
        let text = pages.get(page).unwrap_or_else(|| panic!("{name}: there is no {}", alert.runbook));
        assert!(text.contains(&format!("`{name}`")), "{page} does not name {name}");
        assert!(
            list.lines().any(|line| line.contains(name.as_str()) && line.contains(&format!("({page}.md)"))),
            "the list lacks {name}"
        );
        led_to.insert(page.to_owned());
    }
    for (page, text) in pages.iter().filter(|(page, _)| !page.starts_with("halts/")) {
        assert!(led_to.contains(page), "no alert leads to {page}");
        for part in ["What it means", "What users see", "First look", "Causes", "What not to do", "When to escalate"] {
            assert!(text.contains(&format!("\n## {part}\n")), "{page} has no part `{part}`");
        }
    }
}
