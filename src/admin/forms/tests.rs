//! The forms over a socket.

use crate::admin::server::tests::{ask, started};

const HOST: &str = "host: worker:9464\r\n";

fn typed(of: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(of).finish()
}

/// Would catch: markup that a browser obeys, wherever it came from; a page that may load something; a text that changes on its way.
#[tokio::test]
async fn what_is_typed_in_is_text() {
    let (_, address, _stop) = started(10_000).await;
    let page = ask(address, "GET", "/functions/echo", HOST, "").await;
    assert!(page.contains(" 200 ") && page.contains(">\nI love it.</textarea>"), "{page}");
    for needed in [
        "content-security-policy: default-src 'none'",
        "cache-control: no-store",
        "<label for=\"i.text\">",
        "aria-describedby=\"i.text-hint\"",
        "min=\"1\" max=\"9\"",
        "<option value=\"far\">",
        "width=device-width",
        "prefers-color-scheme:dark",
        "tiny@&lt;0&gt;",
        "Answers &lt;b&gt;at most&lt;/b&gt;.",
    ] {
        assert!(page.contains(needed), "{needed}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("https://"), "{page}");

    let odd = "</textarea><script>alert('x')</script>\r\n\"&amp;";
    let sent = typed(&[
        ("i.text", odd),
        ("p.top_k", "2"),
        ("p.way", "far"),
        ("p.whole", "true"),
        ("p.stop", "a\r\n\r\nb"),
        ("p.schema", "{\"a\":1}"),
    ]);
    let answer = ask(address, "POST", "/functions/echo", HOST, &sent).await;
    assert!(answer.contains(" 200 ") && !answer.contains("<script"), "{answer}");
    let shown = "&lt;/textarea&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;\n&quot;&amp;amp;</textarea>";
    assert!(answer.contains(shown) && answer.contains("<details open>"), "{answer}");
    // The body that was asked with, in the command and in the answer of the echo.
    let asked = r#"{"inputs":{"text":"</textarea><script>alert('x')</script>\n\"&amp;"},"parameters":{"schema":{"a":1},"stop":["a","b"],"top_k":2,"way":"far","whole":true}}"#;
    let parts: Vec<&str> = answer.split("-d &#39;").collect();
    let command = parts[1].split("&#39;</pre>").next().unwrap();
    let unescaped = ["&lt;", "&gt;", "&quot;", "&#39;"]
        .iter()
        .zip(["<", ">", "\"", "'"])
        .fold(command.to_owned(), |text, (from, to)| text.replace(from, to));
    assert_eq!(unescaped.replace("&amp;", "&").replace("'\\''", "'"), asked);
    assert!(answer.contains("http://worker:9464/v1/functions/echo"), "{answer}");
}

/// Would catch: an error that the page hides, or shows without its status or its control; names that lead elsewhere.
#[tokio::test]
async fn what_is_wrong_is_shown() {
    let (_, address, _stop) = started(1_000).await;
    let answer = ask(address, "POST", "/functions/full", HOST, &typed(&[("i.text", "a")])).await;
    assert!(answer.contains(" 429 ") && answer.contains("role=\"alert\""), "{answer}");
    let answer = ask(address, "POST", "/functions/echo", HOST, &typed(&[("i.text", "a"), ("p.schema", "{")])).await;
    assert!(answer.contains(" 400 ") && answer.contains("`parameters.schema` is not JSON at line 1"), "{answer}");
    assert!(answer.contains("name=\"p.schema\" aria-describedby=\"p.schema-hint\" aria-invalid=\"true\""), "{answer}");
    let answer = ask(address, "POST", "/functions/echo", HOST, &"x".repeat(2_000)).await;
    assert!(answer.contains(" 413 ") && answer.contains("more than 1000 bytes"), "{answer}");
    for path in ["/functions/%3Cb%3Ex", "/functions/nobody"] {
        let answer = ask(address, "GET", path, HOST, "").await;
        assert!(answer.contains(" 404 ") && !answer.contains("<b>"), "{answer}");
    }
    let answer = ask(address, "POST", "/functions/echo", "host: a'b\r\n", &typed(&[("i.text", "a")])).await;
    assert!(answer.contains("http://127.0.0.1:9464/v1"), "{answer}");
    let form = ask(address, "GET", "/functions/echo?version=v2", HOST, "").await;
    assert!(
        form.contains("action=\"/functions/echo?version=v2#answer\"") && form.contains("version=v2\" aria-current"),
        "{form}"
    );
    let answer = ask(address, "POST", "/functions/echo?version=v2", HOST, &typed(&[("i.text", "a")])).await;
    assert!(answer.contains("By version <code>v2</code>") && answer.contains("/v1/functions/echo?version=v2&#39; "), "{answer}");
    let answer = ask(address, "POST", "/functions/echo?version=a&version=b", HOST, &typed(&[("i.text", "a")])).await;
    assert!(answer.contains(" 400 ") && answer.contains("more than once"), "{answer}");
    let list = ask(address, "GET", "/functions", HOST, "").await;
    assert!(list.contains("<a href=\"/functions/echo\">echo</a>"), "{list}");
    let document = ask(address, "GET", "/openapi.json", HOST, "").await;
    assert!(document.contains("\"/v1/functions/echo\"") && document.contains("\"openapi\":\"3.1.0\""), "{document}");
}
