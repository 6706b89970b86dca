//! The first page: what there is, as links.

use axum::{Extension, extract::State, response::Html};

use super::access::Seen;
use crate::api::{overview::Overview, reach};

/// Paths that are linked, and what they tell.
const LINKS: &[(&str, &str)] = &[
    ("/status", "version, phase, and how much there is of everything"),
    ("/production-readiness", "every check, with what to do"),
    ("/health", "whether the control plane serves"),
    ("/health/details", "the same, part by part"),
    ("/health/live", "liveness probe"),
    ("/health/ready", "readiness probe"),
    ("/metrics", "figures for Prometheus"),
    ("/sd/prometheus", "the fleet, for Prometheus HTTP service discovery"),
];

/// Links to everything, and to the health of each service.
pub async fn page(State(overview): State<Overview>, Extension(Seen(seen)): Extension<Seen>) -> Html<String> {
    let links: String = LINKS
        .iter()
        .map(|(path, words)| format!("<li><a href=\"{path}\">{path}</a> {words}</li>\n"))
        .collect();
    let (services, more) = match &seen {
        Some(scope) => reach::services_in(&overview.fleet, scope, None, 100).await,
        None => (Vec::new(), false),
    };
    // Names are DNS labels and states are fixed words: nothing here needs escaping.
    let mut rows: String = services
        .iter()
        .map(|service| {
            let (name, state, counts) = (&service.name, service.health.state.as_str(), &service.counts);
            let (available, total) = (counts.available, counts.total);
            format!("<li><a href=\"/health/services/{name}\">{name}</a> {state}, {available} of {total} available</li>\n")
        })
        .collect();
    if seen.is_none() {
        rows.push_str("<li>are listed for those who prove who they are</li>\n");
    } else if rows.is_empty() {
        rows.push_str("<li>none are registered yet</li>\n");
    }
    if more {
        rows.push_str("<li>and more: <code>seaworthy service list</code></li>\n");
    }
    let version = env!("CARGO_PKG_VERSION");
    Html(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Seaworthy</title>\n<style>\n\
         body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; \
         color: #1b2733; background: #fff }}\n\
         a {{ color: #0b5cad }}\nli {{ margin: .2rem 0 }}\n\
         @media (prefers-color-scheme: dark) {{ body {{ color: #dfe7ee; background: #10171e }} a {{ color: #7cb8f2 }} }}\n\
         </style>\n</head>\n<body>\n<h1>Seaworthy</h1>\n<p>Control plane {version}. The gRPC API is on its own port.</p>\n\
         <h2>Services</h2>\n<ul>\n{rows}</ul>\n<h2>Pages</h2>\n<ul>\n{links}</ul>\n</body>\n</html>\n"
    ))
}
