//! Tokens of an answer that comes in chunks.

use super::super::super::tests::{sent, started};
use super::*;
use tokio::io::AsyncReadExt;

/// Would catch: tokens that come twice, in another order or not at all where an answer comes in chunks: those of a letter that has several,
/// of a stop text that is held back, the one that ends an answer.
#[tokio::test]
async fn log_probabilities_come_with_their_chunks() {
    let functions = functions();
    let mut held_back = 0;
    for seed in 0..12 {
        let mut request = json!({
            "messages": [{ "role": "user", "content": "x" }], "logprobs": true, "top_logprobs": seed % 3, "temperature": 1.5, "seed": seed,
            "max_tokens": 12,
        });
        if seed % 2 == 1 {
            request["labels"] = json!(["refund", "refunded"]);
        } else if seed % 4 == 2 {
            let text = whole(&functions, request.clone()).await.unwrap()["choices"][0]["message"]["content"].clone();
            let stop: String = text.as_str().unwrap().chars().skip(2).take(2).collect();
            request["stop"] = if stop.is_empty() { json!([]) } else { stop.into() };
        }
        let expected = whole(&functions, request.clone()).await.unwrap()["choices"][0].clone();
        request["stream"] = true.into();
        let events = events(&functions, request).await.unwrap();
        let chunks: Vec<Value> = events[..events.len() - 1].iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let mut tokens = Vec::new();
        for chunk in &chunks {
            let (text, logprobs) = (&chunk["choices"][0]["delta"]["content"], &chunk["choices"][0]["logprobs"]);
            let content = logprobs["content"].as_array().cloned().unwrap_or_default();
            assert!(text.as_str().is_none_or(str::is_empty) || !content.is_empty(), "a text without its tokens: {chunk}");
            held_back += usize::from(content.len() > 1);
            tokens.extend(content);
        }
        assert_eq!(Value::from(tokens), expected["logprobs"]["content"]);
        let last = &chunks[chunks.len() - 1]["choices"][0];
        assert_eq!((&last["finish_reason"], &last["logprobs"]), (&expected["finish_reason"], &Value::Null));
    }
    assert!(held_back > 0, "no chunk has several tokens");
}

/// The same over a socket.
#[tokio::test(flavor = "multi_thread")]
async fn log_probabilities_come_over_http() {
    let functions = Arc::new(functions());
    let (address, stop) = started(&functions).await;
    let request = |stream: bool| {
        json!({
            "messages": [{ "role": "user", "content": "x" }], "logprobs": true, "top_logprobs": 2, "max_tokens": 6, "stream": stream,
        })
    };
    let mut events = String::new();
    sent(address, "/v1/chat/completions", &request(true)).await.read_to_string(&mut events).await.unwrap();
    assert!(events.contains("text/event-stream") && events.contains("data: [DONE]"), "{events}");
    let chunks = events.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    let content = |chunk: Value| chunk["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    let tokens: Vec<Value> = chunks.flat_map(content).collect();
    let expected = whole(&functions, request(false)).await.unwrap()["choices"][0]["logprobs"]["content"].clone();
    assert_eq!((tokens.is_empty(), Value::from(tokens)), (false, expected));
    stop.cancel();
}
