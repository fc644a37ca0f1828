//! One line of Rust, in and outside of a runtime.

use super::fixture;
use crate::function::api::{self, Error, Handle};
use crate::function::classify::Passage;
use crate::function::tag::Strategy;

fn path(name: &str) -> String {
    fixture(name).display().to_string()
}

fn shared<T: Clone + Send + Sync + 'static>(of: &T) -> T {
    of.clone()
}

/// Would catch: a starter whose word table is that of another folder and is read otherwise than it was trained with.
#[test]
fn the_starter_for_answers_finds_them() {
    let answer = api::answer("answer-en").unwrap().load().unwrap();
    let context = "Refunds are paid within five days. Parcels leave our house on Monday and on Thursday.";
    for (question, expected) in [("How long do refunds take?", "five days"), ("When do parcels leave?", "Monday")] {
        let found = answer.call((question, context)).unwrap();
        assert!(found.answers[0].answer == expected && !found.truncated, "{found:?}");
    }
}

/// Would catch: a Chinese model that is shipped with a tokeniser that the program reads otherwise than it was trained with.
#[test]
fn the_chinese_starter_tells_good_reviews_from_bad_ones() {
    let sentiment = api::classify("sentiment-zh").unwrap().load().unwrap();
    let reviews = [
        "房间很干净，服务员很热情，下次还会来。",
        "电池不行，用了两天就坏了，客服也不理人。",
        "这本书写得非常好，我和孩子都很喜欢。",
        "酒店又脏又吵，太让人失望了。",
    ];
    let answers = sentiment.call_batch(reviews).unwrap();
    let found: Vec<(&str, bool)> = answers.iter().map(|one| (one.label.as_deref().unwrap(), one.truncated)).collect();
    assert_eq!(found, [("positive", false), ("negative", false), ("positive", false), ("negative", false)]);
    // 540 characters are more than it sees.
    assert!(sentiment.call("这本书写得非常好。".repeat(60)).unwrap().truncated);
}

/// Would catch: a call that panics in a runtime or outside of one, answers out of order, handles that cannot be shared.
#[test]
fn one_line_is_enough() {
    let sentiment = shared(&api::sentiment().unwrap());
    let one = sentiment.call("I love it, it is wonderful").unwrap();
    assert!(one.name == "positive" && one.score > 0.8, "{one:?}");
    let many = sentiment.call_batch(["it is awful and I hate it", "I love it"]).unwrap();
    let names: Vec<&str> = many.iter().map(|label| label.name.as_str()).collect();
    assert_eq!(names, ["negative", "positive"]);

    let classify = api::classify(&path("one")).unwrap().top_k(2).load().unwrap();
    let texts: Vec<String> = (0..600).map(|i| format!("good film {}", "very ".repeat(i % 5))).collect();
    let batch = classify.call_batch(&texts).unwrap();
    assert!(batch.len() == 600 && batch.iter().all(|one| one.labels.len() == 2));
    assert_eq!(batch[7].label, classify.call(&texts[7]).unwrap().label);
    assert_eq!(classify.call(Passage::pair("good", "bad")).unwrap().tokens, 5);
    let infer = api::classify(&path("nli")).unwrap().load().unwrap();
    assert_eq!(infer.call(Passage::from("good film").among(["sport", "food"])).unwrap().labels.len(), 2);
    let error = classify.call_batch(["good", " ", "bad"]).unwrap_err();
    assert_eq!(error.to_string(), "input 1, field `text`: the text is empty or only white space");
    let each = classify.call_each(["good", " "]).unwrap();
    assert!(each[0].is_ok() && each[1].is_err());

    let context = "Anna lives in Paris.";
    let found = api::answer(&path("answer")).unwrap().top_k(3).load().unwrap().call(("who?", context)).unwrap();
    assert!(found.answers.iter().all(|one| context[one.start..one.end] == one.answer), "{found:?}");
    let tag = api::tag(&path("tag")).unwrap().aggregation_strategy(Strategy::Simple).load().unwrap();
    assert!(tag.call(context).unwrap().entities.iter().all(|one| context[one.start..one.end] == one.word));
    let fill = api::fill(&path("fill")).unwrap().top_k(2).load().unwrap();
    assert_eq!(fill.call("a [MASK].").unwrap().masks[0].len(), 2);
    let rank = api::rerank(&path("rank")).unwrap().top_k(1).load().unwrap();
    assert_eq!(rank.call(("a", ["b", "c"])).unwrap().ranks.len(), 1);
    let similar = api::similar(&path("fill")).unwrap().load().unwrap();
    assert_eq!(similar.call(("good", ["good", "bad"])).unwrap().scores.len(), 2);
    let summary = api::summarize(&path("fill")).unwrap().max_sentences(1).load().unwrap().call("Good. Bad.").unwrap();
    assert_eq!(summary.sentences.len(), 1);
    let vectors = api::embed(&path("fill")).unwrap().call_batch(["good", "bad"]).unwrap();
    assert_eq!((vectors.len(), vectors[0].len()), (2, 16));
}

#[test]
fn what_is_wrong_is_told() {
    let missing = api::classify("no-such-model").err().unwrap();
    assert!(matches!(&missing, Error::NotFound(missing) if missing.looked.len() >= 2), "{missing}");
    let wrong = api::classify(&path("one")).unwrap().option("topk", 1).load().err().unwrap();
    assert!(wrong.to_string().contains("known: "), "{wrong}");
    assert!(api::tag(&path("one")).unwrap().load().err().unwrap().to_string().contains("labels of tokens"));
}

async fn in_a_runtime(handle: Handle<crate::function::classify::Classify>) {
    let tasks = (0..4).map(|i| {
        let handle = handle.clone();
        tokio::spawn(async move {
            // More than the share of work that a task has before channels make it wait.
            for _ in 0..200 {
                handle.call("good film").unwrap();
            }
            handle.ask(format!("good {i}")).await.unwrap()
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        assert!(task.await.unwrap().label.is_some());
    }
}

/// Would catch: a call that waits for a runtime that waits for it.
#[test]
fn calls_work_inside_every_runtime() {
    let handle = api::classify(&path("one")).unwrap().load().unwrap();
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(in_a_runtime(handle.clone()));
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap().block_on(in_a_runtime(handle.clone()));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn({
                let handle = handle.clone();
                move || handle.call("bad").unwrap()
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| drop(thread.join().unwrap()));
}
