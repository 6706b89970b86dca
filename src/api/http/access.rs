//! Who may see which page: the table of pages, and the look at every request that keeps it.
//!
//! Health is open to everybody, so that platforms can probe; the rest needs a proof where the configuration asks for
//! one, unless it opens that page.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::Refused;
use crate::{
    api::{overview::Overview, reach},
    config::OpenPages,
    error::Error,
    guard::{
        caller::{HttpConnection, bearer},
        permission::permit,
    },
    identity::{Identity, Permission, Scope, authenticator::Identified},
    peer::Peer,
};

/// What whoever asks sees of the fleet. None: nothing.
#[derive(Clone, Debug)]
pub struct Seen(pub Option<Scope>);

/// What a page needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Needs {
    /// What whoever asks must be allowed to do.
    pub permission: Permission,
    /// Whether it shows all there is, so that nobody may see it who sees only a part.
    pub whole: bool,
}

/// What a path needs: total, and what nobody serves needs a proof as well.
pub fn needs(path: &str, open: OpenPages) -> Needs {
    let unless = |open: bool, whole| Needs {
        permission: if open { Permission::Open } else { Permission::View },
        whole: whole && !open,
    };
    match path {
        "/" | "/ready" | "/health" => Needs { permission: Permission::Open, whole: false },
        path if path.starts_with("/health/") => Needs { permission: Permission::Open, whole: false },
        "/status" | "/production-readiness" => unless(open.status, true),
        "/metrics" => unless(open.metrics, true),
        "/sd/prometheus" => unless(open.discovery, false),
        _ => Needs { permission: Permission::Known, whole: false },
    }
}

/// Lets a request pass whose sender may see the page, and says what it sees.
pub async fn authorize(State(overview): State<Overview>, mut request: Request, next: Next) -> Response {
    match judge(&overview, &request) {
        Ok((identity, seen)) => {
            request.extensions_mut().insert(seen);
            let mut response = next.run(request).await;
            // For the log.
            response.extensions_mut().insert(identity);
            response
        }
        Err(error) => Refused(error).into_response(),
    }
}

fn judge(overview: &Overview, request: &Request) -> Result<(Arc<Identity>, Seen), Error> {
    let unknown = || Error::internal("a page that was asked for on no connection");
    let from: &HttpConnection = request.extensions().get().ok_or_else(unknown)?;
    let authenticator = &overview.guard.authenticator;
    let (peer, bearer) = (Peer::of(from.peer.ip()), bearer(request.headers()));
    // What still comes on a connection that ends for that is nobody's.
    let certificate = from.certificate.as_deref().filter(|_| from.proof.has_lapsed().is_none());
    let Identified { identity, failed } = authenticator.once(peer, certificate, bearer);
    let needs = needs(request.uri().path(), overview.config().auth.open_pages);
    permit(&identity, failed, needs.permission)?;
    if needs.whole {
        reach::sees_all(&identity)?;
    }
    let opened = needs.permission == Permission::Open && request.uri().path() != "/";
    let seen = if opened { Some(Scope::default()) } else { reach::scope(&identity).cloned() };
    Ok((identity, Seen(seen)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_as_a_table() {
        use Permission::{Known, Open, View};
        let closed = OpenPages::default();
        let opened = OpenPages { metrics: true, status: true, discovery: true };
        for (path, by_default, when_opened, whole) in [
            ("/", Open, Open, false),
            ("/ready", Open, Open, false),
            ("/health", Open, Open, false),
            ("/health/live", Open, Open, false),
            ("/health/services/orders/i-1", Open, Open, false),
            ("/status", View, Open, true),
            ("/production-readiness", View, Open, true),
            ("/metrics", View, Open, true),
            ("/sd/prometheus", View, Open, false),
            ("/healthy", Known, Known, false),
            ("/metrics/", Known, Known, false),
            ("//status", Known, Known, false),
        ] {
            assert_eq!(needs(path, closed), Needs { permission: by_default, whole }, "{path}");
            assert_eq!(needs(path, opened), Needs { permission: when_opened, whole: false }, "{path}");
        }
    }
}
