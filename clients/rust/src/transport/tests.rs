//! Where a token may go, and that it is never shown.

use super::*;

fn transport(url: &'static str) -> Transport {
    Transport::new(Endpoint::from_static(url))
}

fn fields(transport: &Transport) -> Vec<&'static str> {
    transport.problems().into_iter().map(|(field, _)| field).collect()
}

#[test]
fn a_token_stays_on_this_machine_or_is_encrypted() {
    for (url, good) in [
        ("http://127.0.0.1:1", true),
        ("http://127.8.9.10:1", true),
        ("http://[::1]:1", true),
        ("http://LOCALHOST:1", true),
        ("http://10.0.0.7:1", false),
        ("http://[fe80::1]:1", false),
        ("http://localhost.example.org:1", false),
        ("http://127.0.0.1.example.org:1", false),
    ] {
        let near = transport(url).token(Token::new("swt_1"));
        assert_eq!(fields(&near).is_empty(), good, "{url}");
        assert!(fields(&near.allow_plaintext_token()).is_empty(), "{url}");
    }
}

#[test]
fn a_call_carries_the_token_where_nothing_shows_it() {
    let slot = Slot::empty();
    let mut bearer = Bearer(Arc::clone(&slot));
    let bare = bearer.call(Request::new(())).expect("a request");
    assert!(bare.metadata().get("authorization").is_none());
    slot.put(Token::new("swt_hidden").proof().ok());
    let request = bearer.call(Request::new(())).expect("a request");
    assert_eq!(
        request.metadata().get("authorization").and_then(|it| it.to_str().ok()),
        Some("Bearer swt_hidden")
    );
    for shown in [format!("{request:?}"), format!("{bearer:?}"), format!("{slot:?}")] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn nothing_is_said_in_the_clear_where_it_should_be_encrypted() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    let transport = Transport::new(Endpoint::from_shared(url).expect("a URL"));
    let refused = transport.connect().await.expect_err("nobody is trusted");
    assert!(refused.to_string().contains("names no authority"), "{refused}");
}
