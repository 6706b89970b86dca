//! What stands in front of the pages: until the fleet is loaded there are none, and whoever asks is told
//! so. An empty page would be taken for an empty fleet.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::{Request, State},
    middleware::from_fn,
    response::{IntoResponse as _, Response},
};
use tower::ServiceExt as _;

use super::{Refused, harden, own};
use crate::fleet::loading::Progress;

/// The place of pages that are yet to come. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Front {
    pages: Arc<OnceLock<Router>>,
    progress: Progress,
}

impl Front {
    /// Without pages; `progress` says how far the loading is.
    pub fn new(progress: Progress) -> Self {
        Self { pages: Arc::default(), progress }
    }

    /// From now on these pages answer. Only the first ones that are given count.
    pub fn open(&self, pages: Router) {
        self.pages.get_or_init(|| pages);
    }

    /// What a listener serves.
    pub fn router(&self) -> Router {
        Router::new().fallback(page_or_patience).layer(from_fn(harden)).with_state(self.clone())
    }
}

async fn page_or_patience(State(front): State<Front>, request: Request) -> Response {
    match front.pages.get() {
        Some(pages) => pages.clone().oneshot(request).await.into_response(),
        None if request.uri().path() == "/health/live" => own::live().await.into_response(),
        None => Refused(front.progress.refusal()).into_response(),
    }
}
