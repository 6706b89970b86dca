//! Requests through the layers, as servers see them.

use std::{
    future::{Ready, ready},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use http::StatusCode;

use super::*;
use crate::protect::{
    limit,
    policy::{Policy, RateLimit, Scope},
    stats::OperationStats,
};

/// Two calls of each operation in an hour.
fn operations() -> Operations {
    let operations = Operations::new("orders");
    let rate = limit::Rate::new(2, Duration::from_secs(3600)).unwrap();
    let algorithm = limit::Algorithm::FixedWindow;
    let settings = limit::Settings::new(rate, algorithm).unwrap();
    let limits = vec![RateLimit { scope: Scope::Operation, settings, fleet_wide: None }];
    operations.set_policy(Policy { limits, ..Policy::named("limits") }).unwrap();
    operations
}

fn only(operations: &Operations) -> OperationStats {
    let mut report = operations.report();
    assert_eq!(report.operations.len(), 1, "{report:?}");
    report.operations.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_route_is_an_operation_and_who_is_over_its_limit_is_told_when_to_come_back() {
    let operations = operations();
    let broken = || async { StatusCode::INTERNAL_SERVER_ERROR };
    let mut app = Router::new().route("/orders/{id}", get(broken)).route_layer(operations.axum_layer());
    let mut answers = Vec::new();
    for id in 0..3 {
        let request = Request::get(format!("/orders/{id}")).body(Body::empty()).unwrap();
        answers.push(app.call(request).await.unwrap());
    }
    let codes: Vec<u16> = answers.iter().map(|answer| answer.status().as_u16()).collect();
    assert_eq!(codes, [500, 500, 429]);
    assert_eq!(answers[2].headers()[http::header::RETRY_AFTER], "3600");
    let body = axum::body::to_bytes(answers.remove(2).into_body(), 4096).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&body).unwrap();
    for (name, value) in
        [("policy", "limits"), ("scope", "OPERATION"), ("limit", "2 in 3600s, fixed window"), ("caller", "")]
    {
        assert_eq!(told[name], value, "{told}");
    }
    drop(answers);
    let counted = only(&operations);
    assert_eq!(counted.operation, "GET:/orders/{id}");
    assert_eq!((counted.calls, counted.failures, counted.limited, counted.in_flight), (3, 2, 1, 0));
}

/// Answers every call with this status.
#[derive(Clone)]
struct Answers(tonic::Code);

impl Service<Request<()>> for Answers {
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(tonic::Status::new(self.0, "").into_http()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_is_an_operation_and_its_status_says_whose_failure_it_is() {
    for (code, failures) in [(tonic::Code::Unavailable, 2), (tonic::Code::InvalidArgument, 0)] {
        let operations = operations();
        let mut service = operations.tonic_layer().layer(Answers(code));
        let mut codes = Vec::new();
        // The first one is one of the others: anybody may make up methods.
        for _ in 0..4 {
            let request = Request::post("/shop.v1.Orders/Charge").body(()).unwrap();
            let answer = service.call(request).await.unwrap();
            codes.push(tonic::Status::from_header_map(answer.headers()).unwrap().code());
        }
        assert_eq!(codes, [code, code, code, tonic::Code::ResourceExhausted]);
        let [others, counted] = &operations.report().operations[..] else { panic!("two") };
        assert_eq!((others.operation.as_str(), others.calls), ("_others", 1));
        assert_eq!(counted.operation, "shop.v1.Orders/Charge");
        assert_eq!((counted.calls, counted.failures, counted.limited), (3, failures, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_makes_operations_by_asking_for_them() {
    let operations = Operations::new("shop");
    let mut grpc = operations.tonic_layer().layer(Answers(tonic::Code::Unimplemented));
    for n in 0..300 {
        grpc.call(Request::post(format!("/a.B/{n}")).body(()).unwrap()).await.unwrap();
    }
    let others = only(&operations);
    assert_eq!((others.operation.as_str(), others.calls, others.failures), ("_others", 300, 0));
    assert_eq!(operations.report().breakers, []);
    // Those of HTTP have a path that is there, and no more methods than are known.
    let mut http =
        Router::new().route("/orders", get(|| async { "here" })).route_layer(operations.axum_layer());
    for n in 0..300 {
        let request = Request::builder().method(format!("M{n}").as_str()).uri("/orders");
        http.call(request.body(Body::empty()).unwrap()).await.unwrap();
    }
    let names: Vec<_> = operations.report().operations.into_iter().map(|stats| stats.operation).collect();
    assert_eq!(names, ["OTHER:/orders", "_others"]);
}
