//! Requests through the layers, as servers see them.

use axum::{Router, body::Body, routing::get};
use http::{StatusCode, header::CONNECTION};

use super::*;
use crate::shutdown::Settings;

fn shutdown() -> Shutdown {
    Shutdown::new(Settings::default()).unwrap()
}

fn counted(shutdown: &Shutdown) -> (u64, u64) {
    let active = &shutdown.0.active;
    (active.sums(Counting::Request).now, active.sums(Counting::LongLived).now)
}

#[tokio::test]
async fn a_request_counts_until_its_answer_is_sent_and_who_is_late_is_turned_away() {
    let shutdown = shutdown();
    let is_watch = |parts: &Parts| parts.uri.path().starts_with("/watch");
    let mut app = Router::new()
        .route("/orders", get(|| async { "all of them" }))
        .route("/watch", get(|| async { "news" }))
        .layer(shutdown.axum_layer().long_lived_by(is_watch));
    let get = |path: &str| Request::get(path.to_owned()).body(Body::empty()).unwrap();
    let answer = app.call(get("/orders")).await.unwrap();
    assert_eq!(counted(&shutdown), (1, 0), "nobody has read it yet");
    let body = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
    assert_eq!((&body[..], counted(&shutdown)), (&b"all of them"[..], (0, 0)));
    drop(app.call(get("/orders")).await.unwrap());
    assert_eq!(counted(&shutdown), (0, 0), "nobody wants to read it");
    let watch = app.call(get("/watch")).await.unwrap();
    assert_eq!(counted(&shutdown), (0, 1));
    drop(watch);
    let stays = app.call(get("/orders")).await.unwrap();
    assert!(!stays.headers().contains_key(CONNECTION));
    shutdown.0.active.ends();
    let closes = app.call(get("/orders")).await.unwrap();
    assert_eq!((closes.status(), &closes.headers()[CONNECTION]), (StatusCode::OK, &"close".parse().unwrap()));
    drop((stays, closes));

    shutdown.0.active.shut();
    let late = app.call(get("/orders")).await.unwrap();
    assert_eq!(
        (late.status(), &late.headers()[CONNECTION]),
        (StatusCode::SERVICE_UNAVAILABLE, &"close".parse().unwrap())
    );
    let said = axum::body::to_bytes(late.into_body(), 1000).await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["message"], "this instance is shutting down; ask another one");
    assert_eq!(shutdown.0.active.sums(Counting::Request).refused, 1);
}

#[tokio::test]
async fn a_call_by_grpc_counts_until_its_trailers_and_who_is_late_is_told_unavailable() {
    let shutdown = shutdown();
    let is_watch = |parts: &Parts| parts.uri.path().ends_with("/Watch");
    let mut service = shutdown.tonic_layer().long_lived_by(is_watch).layer(Answers);
    let call = |path: &str| Request::post(path.to_owned()).body(()).unwrap();
    let (one, watch) = (
        service.call(call("/Orders/Get")).await.unwrap(),
        service.call(call("/Orders/Watch")).await.unwrap(),
    );
    assert_eq!(counted(&shutdown), (1, 1));
    drop((one, watch));
    assert_eq!(counted(&shutdown), (0, 0));
    shutdown.0.active.shut();
    let late = service.call(call("/Orders/Get")).await.unwrap();
    let status = tonic::Status::from_header_map(late.headers()).unwrap();
    assert_eq!(status.code(), tonic::Code::Unavailable);
}

/// Answers with a message that nobody has read yet.
#[derive(Clone)]
struct Answers;

impl Service<Request<()>> for Answers {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Ok(Response::new(tonic::body::Body::new(Body::from("message")))))
    }
}
