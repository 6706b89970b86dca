//! The file that says where the server listens, so that scripts neither guess nor poll a port.

use std::{fs, path::Path};

use serde_json::json;

use super::Addresses;
use crate::error::{Error, Kind, Reason, Result};

/// Writes the file whole: whoever sees it can read all of it.
///
/// # Errors
/// It cannot be written.
pub(super) fn write(file: &Path, addresses: &Addresses) -> Result<()> {
    let content = json!({
        "grpc": addresses.grpc.to_string(),
        "http": addresses.http.to_string(),
        "metrics": addresses.metrics.map(|at| at.to_string()),
        "pid": std::process::id(),
    });
    let part = file.with_extension("part");
    fs::write(&part, format!("{content}\n")).and_then(|()| fs::rename(&part, file)).map_err(|cause| {
        Error::new(
            Kind::FailedPrecondition,
            Reason::ConfigInvalid,
            format!(
                "cannot write the ready file {}: {cause}; name another with --ready-file",
                file.display()
            ),
        )
        .because(cause)
    })
}

/// Takes the file away: nobody listens there any more.
pub(super) fn remove(file: &Path) {
    // It may be gone already, which is just as well.
    drop(fs::remove_file(file));
}
