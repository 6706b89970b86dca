//! How messages of uploads and downloads get to the control plane: over a connection of their own, made for bulk, so that a
//! backup does not stand in the way of heartbeats. And what it means when they do not.

#[cfg(test)]
pub(crate) mod script;

use std::{
    error::Error as _,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use super::TransferError;
use crate::{
    proto::seaworthy::v1::{
        DownloadRequest, DownloadResponse, UploadRequest, UploadResponse,
        backup_service_client::BackupServiceClient, restore_service_client::RestoreServiceClient,
    },
    rt,
    rules::errors::DOMAIN,
    transport::{Connection, Transport, Trouble},
};

/// Why a try ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The next try may get farther.
    Broken { message: String, retry_after: Option<Duration> },
    /// No other try would.
    ForGood(TransferError),
}

impl Ended {
    pub(super) fn broken(message: impl Into<String>) -> Self {
        Self::Broken { message: message.into(), retry_after: None }
    }

    pub(super) fn nonsense(problem: impl Into<String>) -> Self {
        Self::ForGood(TransferError::Nonsense { problem: problem.into() })
    }

    /// What a status means. One without a reason of the control plane's may be a proxy's, which says nothing of the transfer.
    pub(super) fn of_status(status: &Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN);
        let limited = info.as_ref().is_some_and(|info| info.reason == "AUTHENTICATION_LIMITED");
        let is_final = match status.code() {
            // It was made here: the connection broke.
            _ if status.source().is_some() || limited => false,
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::DataLoss => true,
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::Unimplemented
            | Code::Internal => info.is_some(),
            _ => false,
        };
        let message = match status.source() {
            Some(cause) => format!("the connection broke: {}", rt::innermost(cause)),
            None => format!("{:?}: {}", status.code(), status.message()),
        };
        if is_final {
            return Self::ForGood(TransferError::Refused { message });
        }
        let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
        Self::Broken { message, retry_after }
    }
}

/// What carries the messages. In tests it is a script.
pub(crate) trait Carrier: Sync {
    /// Answers of an upload.
    type Uploading: Stream<Item = Result<UploadResponse, Status>> + Unpin + Send;
    /// Answers of a download.
    type Downloading: Stream<Item = Result<DownloadResponse, Status>> + Unpin + Send;

    /// Opens a stream of messages up.
    fn upload(
        &self,
        requests: ReceiverStream<UploadRequest>,
    ) -> impl Future<Output = Result<Self::Uploading, Ended>> + Send;

    /// Opens a stream of messages down.
    fn download(
        &self,
        request: DownloadRequest,
    ) -> impl Future<Output = Result<Self::Downloading, Ended>> + Send;
}

/// Opens a connection for each stream.
#[derive(Clone, Debug)]
pub(crate) struct ByConnection(Transport);

impl ByConnection {
    /// By the same way, with the same proofs, as everything else.
    pub(crate) fn new(transport: &Transport) -> Self {
        Self(transport.for_bulk())
    }

    async fn connect(&self) -> Result<Connection, Ended> {
        let connected = self.0.connect().await;
        connected.map_err(|error| Ended::broken(format!("no connection: {}", error.cause())))
    }
}

impl Carrier for ByConnection {
    type Uploading = Answers<UploadResponse>;
    type Downloading = Answers<DownloadResponse>;

    async fn upload(&self, requests: ReceiverStream<UploadRequest>) -> Result<Self::Uploading, Ended> {
        let connection = self.connect().await?;
        let answers = BackupServiceClient::new(connection.channel()).upload(requests).await;
        opened(connection, answers.map(tonic::Response::into_inner))
    }

    async fn download(&self, request: DownloadRequest) -> Result<Self::Downloading, Ended> {
        let connection = self.connect().await?;
        let answers = RestoreServiceClient::new(connection.channel()).download(request).await;
        opened(connection, answers.map(tonic::Response::into_inner))
    }
}

fn opened<T>(connection: Connection, answers: Result<Streaming<T>, Status>) -> Result<Answers<T>, Ended> {
    match answers {
        Ok(answers) => Ok(Answers { answers, _connection: connection }),
        Err(status) => Err(known(connection.trouble(), Ended::of_status(&status))),
    }
}

/// The same, in the words of who knows why the connection broke.
fn known(trouble: &Trouble, ended: Ended) -> Ended {
    match (ended, trouble.words()) {
        (Ended::Broken { retry_after, .. }, Some(message)) => Ended::Broken { message, retry_after },
        (ended, _) => ended,
    }
}

/// Answers, and the connection over which they come.
#[derive(Debug)]
pub(crate) struct Answers<T> {
    answers: Streaming<T>,
    _connection: Connection,
}

impl<T> Stream for Answers<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.answers).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn what_ends_a_transfer_as_a_table() {
        let ours = |code, reason: &str| {
            let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
            Status::with_error_details(code, "said", details)
        };
        for (ends, status) in [
            (true, ours(Code::Unauthenticated, "TICKET_INVALID")),
            (true, ours(Code::Internal, "DAMAGED")),
            (true, Status::failed_precondition("the operation has ended")),
            (true, Status::invalid_argument("an offset")),
            (false, ours(Code::Unauthenticated, "AUTHENTICATION_LIMITED")),
            // A proxy.
            (false, Status::unauthenticated("who are you")),
            (false, Status::unimplemented("")),
            (false, Status::internal("")),
            (false, Status::unavailable("restarts")),
            (false, Status::deadline_exceeded("nothing came")),
            (false, Status::resource_exhausted("too many")),
            (false, Status::from_error(Box::new(std::io::Error::other("reset")))),
        ] {
            let is_final = matches!(Ended::of_status(&status), Ended::ForGood(_));
            assert_eq!(is_final, ends, "{status:?}");
        }
    }
}
