//! When an upstream fails: the next candidate before the first content, the dialect's error after it, and the true
//! status when nobody is left.
#![allow(clippy::unwrap_used)]

mod support;

use std::{net::TcpListener, sync::Arc};

use codecs::dialect::Dialect;
use support::{
    Answer, Client, Router, Upstream,
    router::{provider, provider_at},
    speech, within,
};
use tokio::sync::Notify;

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// An upstream that answers well.
async fn good(dialect: Dialect, stream: bool) -> Upstream {
    match stream {
        true => Upstream::streams(dialect.stream_content_type(), speech::stream(dialect).blocks()).await,
        false => Upstream::always(200, JSON, speech::reply(dialect)).await,
    }
}

/// An upstream that streams `text` and ends the body cleanly.
async fn says(dialect: Dialect, text: &str) -> Upstream {
    Upstream::streams(dialect.stream_content_type(), vec![text.as_bytes().to_vec()]).await
}

/// An upstream that streams `text` and ends the body, or cuts the connection instead.
async fn breaks(dialect: Dialect, text: &str, clean: bool) -> Upstream {
    let text = text.to_owned();
    Upstream::start(move |mut conn| {
        let text = text.clone();
        async move {
            while conn.asked().await.is_some() {
                conn.stream(dialect.stream_content_type()).await;
                conn.chunk(&text).await;
                if !clean {
                    return;
                }
                conn.end().await;
            }
        }
    })
    .await
}

async fn ask(router: &Router, dialect: Dialect, model: &str, stream: bool) -> Answer {
    let request = speech::request(dialect, model, stream);
    Client::post(router.addr, &speech::path(dialect, model, stream), request).await
}

/// The answer is `b`'s, whole, and shows nothing of `a`.
#[track_caller]
fn answered_by_b(answer: &Answer, dialect: Dialect, stream: bool) {
    assert_eq!(answer.status, 200, "{dialect:?} {}", answer.text());
    assert_eq!(answer.header("x-flow-router-provider"), Some("b"));
    assert_eq!(answer.header("x-flow-router-attempts"), Some("2"));
    if stream {
        let heard = speech::heard(dialect, &answer.text());
        assert!(heard.ended && heard.error.is_none() && heard.text == speech::TEXT, "{dialect:?} {}", answer.text());
    } else {
        assert_eq!(speech::text_of(dialect, &answer.json()), speech::TEXT);
    }
}

#[tokio::test]
async fn a_failing_provider_is_followed_by_the_next() {
    for (n, dialect) in Dialect::ALL.into_iter().enumerate() {
        let other = Dialect::ALL[(n + 2) % 5];
        for (status, stream) in [(500, false), (502, true), (503, true), (529, false), (401, true), (404, false)] {
            let a = Upstream::always(status, JSON, speech::error_body(dialect, "no")).await;
            let b = good(other, stream).await;
            let router = Router::start(&(provider("a", dialect, &a) + &provider("b", other, &b)));
            let answer = ask(&router, dialect, "m", stream).await;
            answered_by_b(&answer, dialect, stream);
            assert_eq!((a.asked().len(), b.asked().len()), (1, 1), "{dialect:?} {status}");
        }
    }
}

#[tokio::test]
async fn a_rate_limited_provider_is_left_alone_for_as_long_as_it_says() {
    let dialect = Dialect::OpenAiChat;
    let fields = [("content-type", "application/json"), ("Retry-After", "3600")];
    let a = Upstream::always(429, &fields, speech::error_body(dialect, "slow down")).await;
    let b = good(dialect, false).await;
    let router = Router::start(&(provider("a", dialect, &a) + &provider("b", dialect, &b)));
    answered_by_b(&ask(&router, dialect, "m", false).await, dialect, false);
    let second = ask(&router, dialect, "m", false).await;
    assert_eq!((second.status, second.header("x-flow-router-attempts")), (200, None));
    assert_eq!((a.asked().len(), b.asked().len()), (1, 2));
    // Another model of the same provider is not affected.
    answered_by_b(&ask(&router, dialect, "m2", false).await, dialect, false);
    assert_eq!(a.asked().len(), 2);
    // A cooling candidate is still tried when nobody else is there.
    let alone = ask(&router, dialect, "a/m", false).await;
    assert_eq!((alone.status, a.asked().len()), (429, 3));
}

#[tokio::test]
async fn a_client_that_gives_up_does_not_clear_a_cooldown() {
    let dialect = Dialect::OpenAiChat;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let a = Upstream::start(move |mut conn| {
        let tell = tell.clone();
        async move {
            conn.asked().await.unwrap();
            conn.answer(429, &[("Retry-After", "3600")], speech::error_body(dialect, "slow down")).await;
            // The second request is never answered.
            conn.asked().await.unwrap();
            tell.send("asked").unwrap();
            conn.closed().await;
            tell.send("gone").unwrap();
        }
    })
    .await;
    let b = good(dialect, false).await;
    let router = Router::start(&(provider("a", dialect, &a) + &provider("b", dialect, &b)));
    answered_by_b(&ask(&router, dialect, "m", false).await, dialect, false);
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(dialect, "a/m", false);
    client.request("POST", "/v1/chat/completions", &[], request.as_bytes()).await;
    assert_eq!(within("the second request", told.recv()).await, Some("asked"));
    drop(client);
    assert_eq!(within("the end of it", told.recv()).await, Some("gone"));
    Client::metrics(router.addr, "outcome=\"gone\"} 1").await;
    let answer = ask(&router, dialect, "m", false).await;
    assert_eq!((answer.status, answer.header("x-flow-router-provider")), (200, Some("b")));
    assert_eq!(a.asked().len(), 2);
}

#[tokio::test]
async fn a_refused_credential_cools_the_whole_provider() {
    let dialect = Dialect::Anthropic;
    let a = Upstream::always(401, JSON, speech::error_body(dialect, "who are you")).await;
    let b = good(dialect, false).await;
    let router = Router::start(&(provider("a", dialect, &a) + &provider("b", dialect, &b)));
    for model in ["m1", "m2", "m3"] {
        assert_eq!(ask(&router, dialect, model, false).await.status, 200);
    }
    assert_eq!((a.asked().len(), b.asked().len()), (1, 3));
}

#[tokio::test]
async fn an_overload_hidden_in_a_good_stream_falls_over() {
    for (n, upstream) in Dialect::ALL.into_iter().enumerate() {
        for client in [upstream, Dialect::ALL[(n + 1) % 5]] {
            let text = speech::stream(upstream).prologue.concat() + &speech::overload_event(upstream);
            let a = says(upstream, &text).await;
            let b = good(client, true).await;
            let router = Router::start(&(provider("a", upstream, &a) + &provider("b", client, &b)));
            answered_by_b(&ask(&router, client, "m", true).await, client, true);
            assert_eq!(a.asked().len(), 1);
        }
    }
}

#[tokio::test]
async fn an_error_in_a_good_document_falls_over() {
    for (n, upstream) in Dialect::ALL.into_iter().enumerate() {
        for client in [upstream, Dialect::ALL[(n + 1) % 5]] {
            for stream in [false, true] {
                let a = Upstream::always(200, JSON, speech::error_body(upstream, "overloaded")).await;
                let b = good(client, stream).await;
                let router = Router::start(&(provider("a", upstream, &a) + &provider("b", client, &b)));
                answered_by_b(&ask(&router, client, "m", stream).await, client, stream);
            }
        }
    }
}

#[tokio::test]
async fn nonsense_falls_over() {
    let dialect = Dialect::OpenAiChat;
    for stream in [false, true] {
        for raw in [
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n<html>no!",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 500\r\n\r\n: hello\n\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}",
            "SSH-2.0-OpenSSH_9.6\r\n",
            "",
        ] {
            let a = Upstream::start(move |mut conn| async move {
                conn.asked().await.unwrap();
                conn.write(raw).await;
            })
            .await;
            let b = good(dialect, stream).await;
            let router = Router::start(&(provider("a", dialect, &a) + &provider("b", dialect, &b)));
            answered_by_b(&ask(&router, dialect, "m", stream).await, dialect, stream);
        }
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_followed_by_the_next() {
    let dialect = Dialect::Ollama;
    // Bound once and closed: nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resets = Upstream::start(|conn| async move { conn.reset() }).await;
    for a in [format!("http://{nobody}"), resets.url(), format!("https://{}", resets.addr)] {
        let b = good(dialect, false).await;
        let router = Router::start(&(provider_at("a", dialect, &a) + &provider("b", dialect, &b)));
        answered_by_b(&ask(&router, dialect, "m", false).await, dialect, false);
    }
    let router = Router::start(&provider_at("a", dialect, &format!("http://{nobody}")));
    let answer = ask(&router, dialect, "m", false).await;
    assert!(answer.status >= 500, "{}", answer.status);
    let message = speech::error_of(dialect, &answer.json());
    assert!(message.contains("cannot be reached"), "{message}");
}

#[tokio::test]
async fn after_content_an_error_is_the_dialects_own_and_the_end() {
    for upstream in Dialect::ALL {
        let spoken = speech::stream(upstream);
        let text = spoken.prologue.concat() + &spoken.content.concat() + &speech::overload_event(upstream);
        let a = says(upstream, &text).await;
        let b = good(upstream, true).await;
        let router = Router::start(&(provider("a", upstream, &a) + &provider("b", upstream, &b)));
        for client in Dialect::ALL {
            // By its provider's name: the first of these answers cools the model down.
            let answer = ask(&router, client, "a/m", true).await;
            assert_eq!(answer.status, 200);
            let heard = speech::heard(client, &answer.text());
            assert_eq!(heard.text, speech::TEXT, "{client:?} from {upstream:?}");
            assert!(!heard.ended, "{client:?} from {upstream:?} looks complete: {}", answer.text());
            let error = heard.error.unwrap_or_else(|| panic!("no error: {client:?} {upstream:?} {}", answer.text()));
            assert!(error.contains("overloaded"), "{error}");
        }
        assert!(b.asked().is_empty(), "a second answer behind the first: {upstream:?}");
    }
}

/// What broke in the middle is held against who broke it, and shortly.
#[tokio::test]
async fn a_stream_that_breaks_cools_its_model_down() {
    for dialect in Dialect::ALL {
        let spoken = speech::stream(dialect);
        let begun = spoken.prologue.concat() + &spoken.content.concat();
        let overloaded = begun.clone() + &speech::overload_event(dialect);
        for (text, clean, kind) in
            [(&overloaded, true, "overloaded"), (&begun, true, "truncated"), (&begun, false, "api")]
        {
            let a = breaks(dialect, text, clean).await;
            let b = good(dialect, true).await;
            let router = Router::start(&(provider("a", dialect, &a) + &provider("b", dialect, &b)));
            let heard = speech::heard(dialect, &ask(&router, dialect, "m", true).await.text());
            assert!(heard.error.is_some() && !heard.ended, "{dialect:?} {kind} {heard:?}");
            let line =
                format!("flow_router_attempt_failures_total{{provider=\"a\",scope=\"model\",kind=\"{kind}\"}} 1");
            let metrics = Client::metrics(router.addr, &line).await;
            assert!(metrics.contains("flow_router_cooling 1"), "{dialect:?} {kind} {metrics}");
            // Another model of the same provider is not affected.
            ask(&router, dialect, "m2", true).await;
            assert_eq!((a.asked().len(), b.asked().len()), (2, 0), "{dialect:?} {kind}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_holds_nothing_against_the_provider() {
    let dialect = Dialect::Anthropic;
    let begun = speech::stream(dialect).prologue.concat() + &speech::stream(dialect).content.concat();
    let a = Upstream::start(move |mut conn| {
        let begun = begun.clone();
        async move {
            conn.asked().await.unwrap();
            conn.stream(dialect.stream_content_type()).await;
            conn.chunk(&begun).await;
            conn.closed().await;
        }
    })
    .await;
    let router = Router::start(&provider("a", dialect, &a));
    let mut client = Client::connect(router.addr).await;
    let request = speech::request(dialect, "m", true);
    client.request("POST", "/v1/messages", &[], request.as_bytes()).await;
    client.head().await;
    drop(client);
    let metrics = Client::metrics(router.addr, "outcome=\"gone\"} 1").await;
    assert!(metrics.contains("flow_router_cooling 0"), "{metrics}");
    assert!(!metrics.contains("attempt_failures_total{"), "{metrics}");
}

#[tokio::test]
async fn a_stream_that_stops_too_early_is_an_error() {
    for upstream in Dialect::ALL {
        let spoken = speech::stream(upstream);
        let text = spoken.prologue.concat() + &spoken.content.concat();
        // Half an event at the end must not swallow the error event behind it.
        for (tail, clean) in [("", true), ("", false), (&spoken.end[0][..20], true), (&spoken.end[0][..20], false)] {
            let a = breaks(upstream, &(text.clone() + tail), clean).await;
            let router = Router::start(&provider("a", upstream, &a));
            for client in Dialect::ALL {
                let answer = ask(&router, client, "m", true).await;
                let text = answer.text();
                assert!(answer.complete, "{client:?} from {upstream:?}");
                let text = match (client == upstream, tail.is_empty()) {
                    // What was forwarded of the broken event is the client's to skip.
                    (true, false) => {
                        let at = text.rfind(tail).unwrap();
                        text[..at].to_owned() + &text[at + tail.len()..]
                    }
                    _ => text,
                };
                let heard = speech::heard(client, &text);
                assert_eq!(heard.text, speech::TEXT, "{client:?} from {upstream:?}");
                assert!(!heard.ended && heard.error.is_some(), "{client:?} from {upstream:?} {clean}: {text}");
            }
            let metrics = Client::metrics(router.addr, "flow_router_in_flight 0").await;
            assert!(!metrics.contains("outcome=\"ok\""), "{upstream:?} {clean}: booked as a success\n{metrics}");
        }
    }
}

#[tokio::test]
async fn when_everybody_fails_the_client_gets_the_true_status() {
    for (status, kind) in [(429u16, "rate_limit"), (503, "overloaded"), (401, "auth"), (404, "not_found")] {
        for (n, client) in Dialect::ALL.into_iter().enumerate() {
            for (upstream, stream) in [(client, false), (client, true), (Dialect::ALL[(n + 3) % 5], true)] {
                let fields = [("content-type", "application/json"), ("Retry-After", "7")];
                let a = Upstream::always(status, &fields, speech::error_body(upstream, "it is so")).await;
                let router = Router::start(&(provider("a", upstream, &a) + &provider("b", upstream, &a)));
                let answer = ask(&router, client, "m", stream).await;
                let expected = match (status, client) {
                    (503, Dialect::Anthropic) if client != upstream => 529,
                    _ => status,
                };
                assert_eq!(answer.status, expected, "{client:?} from {upstream:?}: {}", answer.text());
                assert_eq!(answer.header("retry-after"), Some("7"), "{client:?} from {upstream:?}");
                assert!(answer.header("content-type").unwrap().starts_with("application/json"));
                assert_eq!(answer.header("x-flow-router-attempts"), Some("2"));
                assert!(speech::error_of(client, &answer.json()).contains("it is so"));
                if client == upstream {
                    assert_eq!(answer.text(), speech::error_body(upstream, "it is so"));
                } else {
                    assert_eq!(answer.header("x-flow-router-error"), Some(kind));
                }
                assert_eq!(a.asked().len(), 2);
            }
        }
    }
}

#[tokio::test]
async fn an_overload_of_everybody_inside_good_streams_becomes_a_true_status() {
    for dialect in Dialect::ALL {
        let text = speech::stream(dialect).prologue.concat() + &speech::overload_event(dialect);
        let a = says(dialect, &text).await;
        let router = Router::start(&provider("a", dialect, &a));
        let answer = ask(&router, dialect, "m", true).await;
        assert!(matches!(answer.status, 500 | 503 | 529), "{dialect:?} {} {}", answer.status, answer.text());
        assert!(speech::error_of(dialect, &answer.json()).contains("overloaded"));
    }
}

#[tokio::test]
async fn a_request_that_is_wrong_is_told_so_at_once() {
    for (n, client) in Dialect::ALL.into_iter().enumerate() {
        for upstream in [client, Dialect::ALL[(n + 1) % 5]] {
            let a = Upstream::always(400, JSON, speech::error_body(upstream, "messages[3] is odd")).await;
            let b = good(upstream, false).await;
            let router = Router::start(&(provider("a", upstream, &a) + &provider("b", upstream, &b)));
            let answer = ask(&router, client, "m", false).await;
            assert_eq!(answer.status, 400, "{client:?} from {upstream:?}: {}", answer.text());
            assert!(speech::error_of(client, &answer.json()).contains("messages[3] is odd"));
            assert!(b.asked().is_empty());
            // It says nothing about the provider: the next request goes there again.
            ask(&router, client, "m", false).await;
            assert_eq!(a.asked().len(), 2);
        }
    }
}

#[tokio::test]
async fn content_that_one_provider_cannot_take_goes_to_the_next() {
    let a = good(Dialect::Anthropic, false).await;
    let b = good(Dialect::OpenAiChat, false).await;
    let config = provider("a", Dialect::Anthropic, &a) + &provider("b", Dialect::OpenAiChat, &b);
    let router = Router::start(&config);
    let audio = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"what is this?"},
        {"type":"input_audio","input_audio":{"data":"UklGRg==","format":"wav"}}]}]}"#;
    for _ in 0..2 {
        let answer = Client::post(router.addr, "/v1/chat/completions", audio).await;
        answered_by_b(&answer, Dialect::OpenAiChat, false);
    }
    assert!(a.asked().is_empty());
    // It is held against nobody.
    assert_eq!(ask(&router, Dialect::Anthropic, "m", false).await.header("x-flow-router-provider"), Some("a"));
    let answer = Client::post(router.addr, "/v1/chat/completions", audio.replace("\"m\"", "\"a/m\"")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.header("x-flow-router-error"), Some("unsupported_content"));
}

#[tokio::test]
async fn attempts_are_bounded() {
    let dialect = Dialect::OpenAiChat;
    let bad = Upstream::always(500, JSON, speech::error_body(dialect, "no")).await;
    let good = good(dialect, false).await;
    let config: String = ["a", "b"].map(|name| provider(name, dialect, &bad)).concat() + &provider("c", dialect, &good);
    let router = Router::start_with(&config, &["--max-attempts", "2"]);
    let answer = ask(&router, dialect, "m", false).await;
    assert_eq!((answer.status, bad.asked().len(), good.asked().len()), (500, 2, 0));
}

#[tokio::test]
async fn aliases_are_tried_in_their_order() {
    let dialect = Dialect::Anthropic;
    let a = Upstream::always(500, JSON, speech::error_body(dialect, "no")).await;
    let b = good(dialect, true).await;
    let config =
        provider("b", dialect, &b) + &provider("a", dialect, &a) + "[aliases]\nbest = [\"a/one\", \"b/two\"]\n";
    let router = Router::start(&config);
    answered_by_b(&ask(&router, dialect, "best", true).await, dialect, true);
    assert_eq!(a.asked_once().json()["model"], "one");
    assert_eq!(b.asked_once().json()["model"], "two");
}

#[tokio::test]
async fn a_stall_before_content_falls_over_and_after_it_is_an_error() {
    for (n, upstream) in Dialect::ALL.into_iter().enumerate() {
        for client in [upstream, Dialect::ALL[(n + 4) % 5]] {
            for content in [false, true] {
                let spoken = speech::stream(upstream);
                let text = spoken.prologue.concat() + &if content { spoken.content.concat() } else { String::new() };
                let a = Upstream::start(move |mut conn| {
                    let text = text.clone();
                    async move {
                        conn.asked().await.unwrap();
                        conn.stream(upstream.stream_content_type()).await;
                        if !text.is_empty() {
                            conn.chunk(&text).await;
                        }
                        conn.closed().await;
                    }
                })
                .await;
                let b = good(client, true).await;
                let config = provider("a", upstream, &a) + &provider("b", client, &b);
                let router = Router::start_with(&config, &["--stall-timeout", "100ms"]);
                let answer = ask(&router, client, "m", true).await;
                if content {
                    let heard = speech::heard(client, &answer.text());
                    assert_eq!(heard.text, speech::TEXT);
                    assert!(!heard.ended, "{client:?} from {upstream:?}: {}", answer.text());
                    assert!(heard.error.unwrap().contains("silent"), "{}", answer.text());
                    Client::metrics(router.addr, "outcome=\"timeout\"} 1").await;
                } else {
                    answered_by_b(&answer, client, true);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_document_that_stalls_falls_over() {
    let dialect = Dialect::OpenAiChat;
    for head in [true, false] {
        let a = Upstream::start(move |mut conn| async move {
            conn.asked().await.unwrap();
            if head {
                conn.write("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{").await;
            }
            conn.closed().await;
        })
        .await;
        let b = good(dialect, false).await;
        let config = provider("a", dialect, &a) + &provider("b", dialect, &b);
        let router = Router::start_with(&config, &["--stall-timeout", "100ms", "--first-byte-timeout", "100ms"]);
        answered_by_b(&ask(&router, dialect, "m", false).await, dialect, false);
    }
}

#[tokio::test]
async fn the_holds_deadline_commits() {
    for dialect in Dialect::ALL {
        for client in [dialect, Dialect::Ollama, Dialect::Anthropic] {
            let go = Arc::new(Notify::new());
            let gate = go.clone();
            let a = Upstream::start(move |mut conn| {
                let gate = gate.clone();
                async move {
                    conn.asked().await.unwrap();
                    let spoken = speech::stream(dialect);
                    conn.stream(dialect.stream_content_type()).await;
                    // Two dialects say nothing at all before their first word.
                    if !spoken.prologue.is_empty() {
                        conn.chunk(spoken.prologue.concat()).await;
                    }
                    gate.notified().await;
                    conn.chunk(speech::overload_event(dialect)).await;
                    conn.end().await;
                }
            })
            .await;
            let b = good(dialect, true).await;
            let config = provider("a", dialect, &a) + &provider("b", dialect, &b);
            let router = Router::start_with(&config, &["--hold-prologue", "50ms"]);
            let mut call = Client::connect(router.addr).await;
            let request = speech::request(client, "m", true);
            call.request("POST", &speech::path(client, "m", true), &[], request.as_bytes()).await;
            // The head is here although the upstream has said nothing of substance: from now on there is no way back.
            let (status, head) = call.head().await;
            assert_eq!((status, head.get("x-flow-router-provider")), (200, Some("a")), "{dialect:?}");
            go.notify_one();
            let (rest, _) = call.rest().await;
            let heard = speech::heard(client, &String::from_utf8(rest).unwrap());
            assert!(!heard.ended && heard.error.is_some(), "{client:?} from {dialect:?} {heard:?}");
            assert!(b.asked().is_empty());
        }
    }
}
