//! Answers as tonic wants them: errors become statuses by the one mapping, which is `guard::status`.

use tonic::{Response, Status};

use crate::{error::Result, guard::status::status};

/// Wraps an answer, or turns its error into a status.
pub(super) fn answer<T>(result: Result<T>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(|error| status(&error))
}
