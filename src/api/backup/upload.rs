//! `Upload`: data up, offsets down. What has come is told often enough that a client need not keep much.

use std::time::Duration;

use futures_core::Stream;
use futures_util::stream::unfold;
use tonic::{Status, Streaming};

use crate::{
    api::{
        parse::{self, Fields, backup as read},
        proto::v1 as pb,
        reach,
        watch::leaving,
    },
    backup::{Handle, Upload},
    error::{Error, Kind, Reason, Result},
    guard::{
        caller::Caller,
        goodbye::Goodbye,
        status::status,
        transfers::{Budget, Transfers},
    },
};

/// How long the next message may take.
const SILENCE: Duration = Duration::from_secs(60);
/// How long the first one may take, and another connection of the same upload to let go: together less than the guard waits for
/// the beginning of an answer (`grpc.request_timeout`), and the second less than clients wait for an upload to open, so that a
/// caller hears which it was.
const OPENED_WITHIN: Duration = Duration::from_secs(10);
const LET_GO: Duration = Duration::from_secs(4);
/// Bytes after which what has come is told.
const TOLD_EVERY: u64 = 2 << 20;

/// Where the stream is.
enum Stage {
    /// It was opened, and that is to be told.
    Opened,
    /// What has come is told up to here.
    Taking(u64),
}

struct Open {
    upload: Upload,
    inbound: Streaming<pb::UploadRequest>,
    stage: Stage,
    budget: Budget,
    closing: Goodbye,
}

/// Opens an upload by its first message.
pub(super) async fn open(
    backups: &Handle,
    transfers: &Transfers,
    caller: &Caller,
    mut inbound: Streaming<pb::UploadRequest>,
) -> Result<impl Stream<Item = Result<pb::UploadResponse, Status>> + Send + use<>, Status> {
    let wire = first(&mut inbound).await?;
    let upload = take(backups, caller, wire).await.map_err(|error| status(&error))?;
    let closing = Goodbye::of(caller.connection.closing.clone());
    let open = Open { upload, inbound, stage: Stage::Opened, budget: transfers.of(caller), closing };
    Ok(unfold(Some(open), |open| async {
        let (message, rest) = open?.next().await?;
        Some((message, rest))
    }))
}

/// Nothing came.
#[derive(Debug)]
struct Silent;

/// The next message, within a time. Cancel safe.
async fn heard(
    inbound: &mut Streaming<pb::UploadRequest>,
    within: Duration,
) -> Result<Result<Option<pb::UploadRequest>, Status>, Silent> {
    tokio::time::timeout(within, inbound.message()).await.map_err(|_| Silent)
}

/// The first message.
async fn first(inbound: &mut Streaming<pb::UploadRequest>) -> Result<pb::UploadOpen, Status> {
    let not_opened = || Error::field("open", "is missing: it is the first message of an upload");
    match heard(inbound, OPENED_WITHIN).await {
        Err(Silent) => Err(status(&unopened())),
        // Where it is the connection that broke, nobody hears what is answered.
        Ok(Err(broken)) => Err(parse::unreadable(broken).unwrap_or_else(|| status(&not_opened()))),
        Ok(Ok(Some(pb::UploadRequest { message: Some(pb::upload_request::Message::Open(open)) }))) => {
            Ok(open)
        }
        Ok(Ok(_)) => Err(status(&not_opened())),
    }
}

/// Opens what a ticket names.
async fn take(backups: &Handle, caller: &Caller, wire: pb::UploadOpen) -> Result<Upload> {
    let pb::UploadOpen { ticket, instance, digest_algorithm, expected_length } = wire;
    let mut fields = Fields::default();
    let from = read::transfer(&mut fields, "open.instance", instance);
    let digest = read::digest(&mut fields, "open.digest_algorithm", digest_algorithm);
    let from = fields.finish(from)?;
    reach::acts_for(&caller.identity, from.key.service.as_str())?;
    let opening = backups.upload(&ticket, &from, digest, expected_length);
    tokio::time::timeout(LET_GO, opening).await.map_err(|_| held())?
}

impl Open {
    /// The next message, and what comes after it. None: the client is gone, and may come back.
    async fn next(mut self) -> Option<(Result<pb::UploadResponse, Status>, Option<Self>)> {
        let mut told = match self.stage {
            Stage::Taking(told) => told,
            Stage::Opened => {
                return Some(match self.upload.received() {
                    Err(error) => (Err(status(&error)), None),
                    Ok(offset) => {
                        self.stage = Stage::Taking(offset);
                        (
                            Ok(response(pb::upload_response::Message::Opened(pb::UploadOpened { offset }))),
                            Some(self),
                        )
                    }
                });
            }
        };
        loop {
            let message = tokio::select! {
                biased;
                () = self.upload.superseded() => return Some((Err(status(&superseded())), None)),
                _ = self.closing.heard() => return Some((Err(leaving()), None)),
                message = heard(&mut self.inbound, SILENCE) => message,
            };
            let message = match message {
                Err(Silent) => return Some((Err(status(&silent())), None)),
                Ok(Err(broken)) => return parse::unreadable(broken).map(|status| (Err(status), None)),
                Ok(Ok(None)) => return None,
                Ok(Ok(Some(pb::UploadRequest { message }))) => message,
            };
            match message {
                Some(pb::upload_request::Message::Data(pb::UploadData { offset, data })) => {
                    let turn = self.budget.take(data.len());
                    if let Err(error) = self.upload.push(offset, data, turn).await {
                        return Some((Err(status(&error)), None));
                    }
                    let received = self.upload.received().unwrap_or(told);
                    if received - told >= TOLD_EVERY {
                        told = received;
                        self.stage = Stage::Taking(told);
                        let durable_offset = self.upload.durable().unwrap_or(0);
                        let progress = pb::UploadProgress { received_offset: received, durable_offset };
                        return Some((
                            Ok(response(pb::upload_response::Message::Progress(progress))),
                            Some(self),
                        ));
                    }
                    // A client that never pauses must not keep others on this thread from their turn.
                    tokio::task::coop::consume_budget().await;
                }
                Some(pb::upload_request::Message::Finish(wire)) => {
                    return Some((self.finish(wire).await, None));
                }
                Some(pb::upload_request::Message::Open(_)) => {
                    return Some((Err(status(&Error::field("open", "the upload is open already"))), None));
                }
                None => {
                    let error = Error::field("message", "is missing, or newer than this control plane");
                    return Some((Err(status(&error)), None));
                }
            }
        }
    }

    async fn finish(self, wire: pb::UploadFinish) -> Result<pb::UploadResponse, Status> {
        let mut fields = Fields::default();
        let finish = read::finish(&mut fields, wire);
        let finish = fields.finish(finish).map_err(|error| status(&error))?;
        let captured = self.upload.finish(finish).await.map_err(|error| status(&error))?;
        let (length, new_bytes, stored_bytes) = (captured.bytes, captured.new_bytes, captured.stored_bytes);
        Ok(response(pb::upload_response::Message::Done(pb::UploadDone { length, new_bytes, stored_bytes })))
    }
}

fn response(message: pb::upload_response::Message) -> pb::UploadResponse {
    pb::UploadResponse { message: Some(message) }
}

fn silent() -> Error {
    let message = format!("nothing came for {} s; open the upload again and go on", SILENCE.as_secs());
    Error::new(Kind::DeadlineExceeded, Reason::TransferSilent, message)
}

fn unopened() -> Error {
    let message = format!(
        "no `open` came within {} s: it is the first message of an upload, and sent at once",
        OPENED_WITHIN.as_secs()
    );
    Error::new(Kind::DeadlineExceeded, Reason::TransferSilent, message)
}

fn superseded() -> Error {
    Error::new(Kind::Aborted, Reason::TransferEnded, "another connection has opened this upload")
}

fn held() -> Error {
    let message = "another connection of this upload has not let go of it yet; try again";
    Error::new(Kind::Unavailable, Reason::TransferSilent, message).retry_after(Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, Bytes, BytesMut};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use prost::Message as _;
    use tokio::sync::mpsc;
    use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
    use tonic::{Code, codec::Codec as _};
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::api::codec::SmallBuffers;

    /// A stream of what is said, as it is on the wire.
    fn stream() -> (mpsc::Sender<Bytes>, Streaming<pb::UploadRequest>) {
        let (say, said) = mpsc::channel(4);
        let body =
            StreamBody::new(ReceiverStream::new(said).map(|piece| Ok::<_, Status>(Frame::data(piece))));
        let decoder = SmallBuffers::<pb::UploadResponse, pb::UploadRequest>::default().decoder();
        (say, Streaming::new_request(decoder, body, None, None))
    }

    fn framed(message: &[u8]) -> Bytes {
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(message.len()).unwrap());
        frame.put_slice(message);
        frame.freeze()
    }

    fn said(message: pb::upload_request::Message) -> Bytes {
        framed(&pb::UploadRequest { message: Some(message) }.encode_to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_opens_nothing_is_told_so_before_the_guard_gives_up() {
        let (_say, mut inbound) = stream();
        let patience = crate::config::Config::default().grpc.request_timeout;
        let silent = tokio::time::timeout(patience, first(&mut inbound)).await.unwrap().unwrap_err();
        assert_eq!(silent.code(), Code::DeadlineExceeded);
        assert!(silent.message().contains("`open`"), "{silent:?}");
        let reason = silent.get_error_details().error_info().unwrap().reason.clone();
        assert_eq!(reason, Reason::TransferSilent.as_str());
        assert!(OPENED_WITHIN + LET_GO < patience);
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_goes_silent_is_given_up() {
        let (say, mut inbound) = stream();
        say.send(said(pb::upload_request::Message::Open(pb::UploadOpen::default()))).await.unwrap();
        first(&mut inbound).await.unwrap();
        say.send(said(pb::upload_request::Message::Data(pb::UploadData::default()))).await.unwrap();
        assert!(heard(&mut inbound, SILENCE).await.unwrap().unwrap().is_some());
        assert!(heard(&mut inbound, SILENCE).await.is_err());
        assert_eq!(silent().reason(), Reason::TransferSilent);
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_first_message_is_told_as_what_it_is() {
        let data = pb::upload_request::Message::Data(pb::UploadData::default());
        for (sent, field) in [
            (Some(framed(&[0xff, 0xff, 0xff])), "message"),
            (Some(framed(&[])), "open"),
            (Some(said(data)), "open"),
            (None, "open"),
        ] {
            let (say, mut inbound) = stream();
            if let Some(sent) = sent {
                say.send(sent).await.unwrap();
            }
            drop(say);
            let refused = first(&mut inbound).await.unwrap_err();
            let details = refused.get_error_details();
            assert_eq!(details.bad_request().unwrap().field_violations[0].field, field, "{refused:?}");
        }
    }
}
