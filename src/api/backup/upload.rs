//! `Upload`: data up, offsets down. What has come is told often enough that a client need not keep much.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_core::Stream;
use futures_util::stream::unfold;
use tokio::time::timeout;
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
    vault::Captured,
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

/// How often whoever waits for the vault is told that it is at work.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What the vault does with what has come.
type Work = Pin<Box<dyn Future<Output = Stored> + Send>>;

/// What became of it.
enum Stored {
    /// The vault has taken a piece.
    Piece(Upload, Result<()>),
    /// All of it.
    Whole(Result<Captured>),
}

/// Where the stream is.
enum Stage {
    /// It was opened, and that is to be told.
    Opened(Upload),
    /// The next message may come.
    Taking(Upload),
    /// The vault takes what has come.
    Storing(Work),
}

/// What the client was told.
#[derive(Clone, Copy)]
struct Told {
    /// That so much has come.
    received: u64,
    /// That so much is in the vault.
    durable: u64,
}

struct Open {
    inbound: Streaming<pb::UploadRequest>,
    told: Told,
    budget: Arc<Budget>,
    closing: Goodbye,
}

/// A message, and where the stream is after it. None: it is over.
type Next = (Result<pb::UploadResponse, Status>, Option<(Open, Stage)>);

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
    let told = Told { received: 0, durable: 0 };
    let open = Open { inbound, told, budget: Arc::new(transfers.of(caller)), closing };
    Ok(unfold(Some((open, Stage::Opened(upload))), |open| async {
        let (open, stage) = open?;
        open.next(stage).await
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
    timeout(within, inbound.message()).await.map_err(|_| Silent)
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
    timeout(LET_GO, opening).await.map_err(|_| held())?
}

impl Open {
    /// The next message, and what comes after it. None: the client is gone, and may come back.
    async fn next(mut self, mut stage: Stage) -> Option<Next> {
        use pb::upload_response::Message;
        loop {
            stage = match stage {
                Stage::Opened(mut upload) => {
                    let offset = match upload.received() {
                        Ok(offset) => offset,
                        Err(error) => return Some((Err(status(&error)), None)),
                    };
                    self.told.received = offset;
                    let opened = response(Message::Opened(pb::UploadOpened { offset }));
                    return Some((Ok(opened), Some((self, Stage::Taking(upload)))));
                }
                Stage::Taking(upload) => match self.take(upload).await? {
                    Ok(work) => Stage::Storing(work),
                    Err(ended) => return Some((Err(ended), None)),
                },
                Stage::Storing(mut work) => match timeout(SIGN_OF_LIFE, &mut work).await {
                    // It says nothing new, but that somebody is here.
                    Err(_) => return Some((Ok(self.progress()), Some((self, Stage::Storing(work))))),
                    Ok(Stored::Piece(_, Err(error)) | Stored::Whole(Err(error))) => {
                        return Some((Err(status(&error)), None));
                    }
                    Ok(Stored::Piece(mut upload, Ok(()))) => {
                        let received = upload.received().unwrap_or(self.told.received);
                        if received - self.told.received >= TOLD_EVERY {
                            self.told = Told { received, durable: upload.durable().unwrap_or(0) };
                            return Some((Ok(self.progress()), Some((self, Stage::Taking(upload)))));
                        }
                        // A client that never pauses must not keep others on this thread from their turn.
                        tokio::task::coop::consume_budget().await;
                        Stage::Taking(upload)
                    }
                    Ok(Stored::Whole(Ok(captured))) => {
                        let (length, new_bytes, stored_bytes) =
                            (captured.bytes, captured.new_bytes, captured.stored_bytes);
                        let done = pb::UploadDone { length, new_bytes, stored_bytes };
                        return Some((Ok(response(Message::Done(done))), None));
                    }
                },
            }
        }
    }

    /// Takes the next message, and answers what the vault is to do with it; an error ends the stream. None: the client is gone.
    async fn take(&mut self, mut upload: Upload) -> Option<Result<Work, Status>> {
        let message = tokio::select! {
            biased;
            () = upload.superseded() => return Some(Err(status(&superseded()))),
            _ = self.closing.heard() => return Some(Err(leaving())),
            message = heard(&mut self.inbound, SILENCE) => message,
        };
        let message = match message {
            Err(Silent) => return Some(Err(status(&silent()))),
            Ok(Err(broken)) => return parse::unreadable(broken).map(Err),
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(pb::UploadRequest { message }))) => message,
        };
        Some(match message {
            Some(pb::upload_request::Message::Data(pb::UploadData { offset, data })) => {
                let budget = Arc::clone(&self.budget);
                Ok(Box::pin(async move {
                    let turn = budget.take(data.len());
                    let pushed = upload.push(offset, data, turn).await;
                    Stored::Piece(upload, pushed)
                }))
            }
            Some(pb::upload_request::Message::Finish(wire)) => {
                let mut fields = Fields::default();
                let finish = read::finish(&mut fields, wire);
                match fields.finish(finish) {
                    Ok(finish) => Ok(Box::pin(async move { Stored::Whole(upload.finish(finish).await) })),
                    Err(error) => Err(status(&error)),
                }
            }
            Some(pb::upload_request::Message::Open(_)) => {
                Err(status(&Error::field("open", "the upload is open already")))
            }
            None => Err(status(&Error::field("message", "is missing, or newer than this control plane"))),
        })
    }

    fn progress(&self) -> pb::UploadResponse {
        let Told { received, durable } = self.told;
        let progress = pb::UploadProgress { received_offset: received, durable_offset: durable };
        response(pb::upload_response::Message::Progress(progress))
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
        let silent = timeout(patience, first(&mut inbound)).await.unwrap().unwrap_err();
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

    /// Those that wait for the vault with bytes of their identity in work leave some to those that it waits for.
    #[test]
    fn all_that_are_captured_at_a_time_do_not_have_all_bytes_of_an_identity_in_work() {
        use crate::{
            backup::{HELD_AT_ONCE, Options},
            guard::bounds::{DATA, IDENTITY_TRANSFERS},
        };
        assert!(Options::default().at_once * HELD_AT_ONCE * DATA < IDENTITY_TRANSFERS);
    }

    /// Whoever waits for a slow vault would take it for gone otherwise.
    #[tokio::test(start_paused = true)]
    async fn while_the_vault_stores_the_stream_gives_signs_of_life() {
        let clock = crate::time::Clock::start_at(std::time::SystemTime::UNIX_EPOCH);
        let (_say, inbound) = stream();
        let (_closing, closing) = tokio::sync::watch::channel(false);
        let told = Told { received: 7, durable: 3 };
        let budget = Arc::new(Budget::alone());
        let mut open = Open { inbound, told, budget, closing: Goodbye::of(closing) };
        let mut stage = Stage::Storing(Box::pin(async {
            tokio::time::sleep(5 * SIGN_OF_LIFE / 2).await;
            Stored::Whole(Err(superseded()))
        }));
        for _ in 0..2 {
            let began = clock.mono();
            let (said, next) = open.next(stage).await.unwrap();
            assert_eq!(clock.mono().since(began), SIGN_OF_LIFE);
            let Some(pb::upload_response::Message::Progress(progress)) = said.unwrap().message else {
                panic!("progress")
            };
            assert_eq!((progress.received_offset, progress.durable_offset), (7, 3));
            (open, stage) = next.unwrap();
        }
        let (said, next) = open.next(stage).await.unwrap();
        assert_eq!(said.unwrap_err().code(), Code::Aborted);
        assert!(next.is_none());
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
