//! Text-generation as the clients of Hugging Face ask for it.

use super::*;

/// Would catch: parameters of text-generation that are passed over or refused for no reason, pieces that its clients cannot read.
#[tokio::test]
async fn text_generation_is_answered_as_its_clients_ask() {
    let functions = functions();
    let ask = async |mut parameters: Value| {
        if parameters.get("grammar").is_none() {
            // The tiny model would end early.
            parameters["min_new_tokens"] = 8.into();
        }
        functions.call("chat", json!({ "inputs": "Once upon", "parameters": parameters }), Shape::Bare).await
    };
    let plain = ask(json!({})).await.unwrap();
    let text = plain["generated_text"].as_str().unwrap();
    let same = json!({ "do_sample": false, "best_of": 1, "watermark": false, "truncate": null, "return_full_text": true });
    assert_eq!(ask(same).await.unwrap()["generated_text"], format!("Once upon{text}"));
    assert_ne!(ask(json!({ "do_sample": true, "seed": 3 })).await.unwrap(), plain);
    let told = ask(json!({ "details": true, "top_n_tokens": 2 })).await.unwrap();
    let details = &told["details"];
    assert_eq!((&details["finish_reason"], &details["prefill"]), (&json!("length"), &json!([])));
    assert_eq!(details["tokens"].as_array().unwrap().len(), 8);
    assert!(details["tokens"][0]["id"].is_u64() && details["tokens"][0]["logprob"].is_f64(), "{told}");
    let schema = json!({ "type": "object", "properties": { "ok": { "type": "boolean" } }, "required": ["ok"] });
    let held = ask(json!({ "grammar": { "type": "json", "value": schema }, "max_new_tokens": 20 })).await.unwrap();
    assert!(held["generated_text"].as_str().unwrap().contains("ok"), "{held}");
    for (name, value) in [
        ("best_of", json!(2)),
        ("watermark", json!(true)),
        ("truncate", json!(4)),
        ("decoder_input_details", json!(true)),
        ("adapter_id", json!("a")),
        ("grammar", json!({ "type": "regex", "value": "a" })),
        ("grammar", json!({ "type": "json", "value": "a" })),
    ] {
        let mut parameters = json!({});
        parameters[name] = value;
        let error = ask(parameters).await.unwrap_err();
        assert_eq!((error.status, error.param), (400, Some(format!("parameters.{name}"))));
    }
    let talk =
        json!({ "inputs": { "messages": [{ "role": "user", "content": "x" }] }, "parameters": { "return_full_text": true } });
    assert_eq!(
        functions.call("chat", talk, Shape::Bare).await.unwrap_err().param.as_deref(),
        Some("parameters.return_full_text")
    );

    let request = json!({ "inputs": "Once upon", "parameters": { "return_full_text": true, "min_new_tokens": 8 } });
    let events: Vec<String> = functions.streamed("chat", request, Shape::Bare).await.unwrap().collect().await;
    let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let pieces: String = events.iter().map(|event| event["token"]["text"].as_str().unwrap()).collect();
    assert_eq!(pieces, text);
    let numbers: Vec<u64> = events.iter().map(|event| event["index"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>());
    let (last, before) = events.split_last().unwrap();
    assert_eq!(last["generated_text"], format!("Once upon{text}"));
    assert_eq!((&last["details"]["finish_reason"], &last["details"]["generated_tokens"]), (&json!("length"), &json!(8)));
    assert!(before.iter().all(|event| event["generated_text"].is_null() && event["details"].is_null()));
}
