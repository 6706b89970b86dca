//! Who calls, as the guard attached it to the request.

use tonic::Extensions;

use crate::{
    error::{Error, Result},
    guard::caller::Caller,
};

/// Who calls.
///
/// # Errors
/// The request did not come through the guard: a bug.
pub(super) fn caller(extensions: &Extensions) -> Result<&Caller> {
    extensions.get().ok_or_else(|| Error::internal("a request that did not come through the guard"))
}
