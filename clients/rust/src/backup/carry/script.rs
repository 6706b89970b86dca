//! A control plane for tests, without a network: each stream that is opened is handed to the test, which speaks for the other end.

use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::Status;

use super::{Carrier, Ended};
use crate::backup::sum::Sum;
use crate::proto::seaworthy::v1::{
    DownloadData, DownloadFinish, DownloadRequest, DownloadResponse, UploadDone, UploadFinish, UploadOpen,
    UploadOpened, UploadProgress, UploadRequest, UploadResponse, download_response::Message as Down,
    upload_request::Message as Said, upload_response::Message as Up,
};

/// Hands over what is opened. When the test has dropped its end, nobody is there.
#[derive(Clone)]
pub(crate) struct Script {
    uploads: mpsc::Sender<Uploading>,
    downloads: mpsc::Sender<Downloading>,
}

pub(crate) struct Uploading {
    requests: ReceiverStream<UploadRequest>,
    answers: mpsc::Sender<Result<UploadResponse, Status>>,
}

pub(crate) struct Downloading {
    pub(crate) ask: DownloadRequest,
    answers: mpsc::Sender<Result<DownloadResponse, Status>>,
}

pub(crate) fn script() -> (Script, mpsc::Receiver<Uploading>, mpsc::Receiver<Downloading>) {
    let ((uploads, up), (downloads, down)) = (mpsc::channel(1), mpsc::channel(1));
    (Script { uploads, downloads }, up, down)
}

impl Carrier for Script {
    type Uploading = ReceiverStream<Result<UploadResponse, Status>>;
    type Downloading = ReceiverStream<Result<DownloadResponse, Status>>;

    async fn upload(&self, requests: ReceiverStream<UploadRequest>) -> Result<Self::Uploading, Ended> {
        let (answers, heard) = mpsc::channel(64);
        let sent = self.uploads.send(Uploading { requests, answers }).await;
        sent.map_err(|_| Ended::broken("no route"))?;
        Ok(ReceiverStream::new(heard))
    }

    async fn download(&self, ask: DownloadRequest) -> Result<Self::Downloading, Ended> {
        let (answers, heard) = mpsc::channel(64);
        let sent = self.downloads.send(Downloading { ask, answers }).await;
        sent.map_err(|_| Ended::broken("no route"))?;
        Ok(ReceiverStream::new(heard))
    }
}

impl Uploading {
    pub(crate) async fn next(&mut self) -> Option<Said> {
        self.requests.next().await.map(|request| request.message.expect("a kind"))
    }

    /// Takes the first message, and answers it.
    pub(crate) async fn open(&mut self, offset: u64) -> UploadOpen {
        let Some(Said::Open(open)) = self.next().await else { panic!("open is first") };
        self.say(Up::Opened(UploadOpened { offset })).await;
        open
    }

    /// Takes a piece, which must begin there.
    pub(crate) async fn data(&mut self, at: u64) -> Vec<u8> {
        let Some(Said::Data(data)) = self.next().await else { panic!("a piece was expected at {at}") };
        assert_eq!(data.offset, at);
        data.data.to_vec()
    }

    pub(crate) async fn finish(&mut self) -> UploadFinish {
        let Some(Said::Finish(finish)) = self.next().await else { panic!("the end was expected") };
        assert_eq!(self.next().await, None, "nothing follows");
        finish
    }

    pub(crate) async fn received(&self, received_offset: u64) {
        self.say(Up::Progress(UploadProgress { received_offset, durable_offset: 0 })).await;
    }

    pub(crate) async fn done(&self, length: u64) {
        self.say(Up::Done(UploadDone { length, new_bytes: 0, stored_bytes: 0 })).await;
    }

    pub(crate) async fn say(&self, message: Up) {
        self.answers.send(Ok(UploadResponse { message: Some(message) })).await.ok();
    }

    pub(crate) async fn refuse(self, status: Status) {
        self.answers.send(Err(status)).await.ok();
    }
}

impl Downloading {
    pub(crate) async fn data(&self, offset: u64, data: &'static [u8]) {
        let data = DownloadData { offset, data: data.into() };
        self.answers.send(Ok(DownloadResponse { message: Some(Down::Data(data)) })).await.ok();
    }

    pub(crate) async fn finish(&self, length: u64, sent: &[u8]) {
        let digest = Sum::of(sent);
        let finish = DownloadFinish { length, digest };
        self.answers.send(Ok(DownloadResponse { message: Some(Down::Finish(finish)) })).await.ok();
    }

    pub(crate) async fn refuse(self, status: Status) {
        self.answers.send(Err(status)).await.ok();
    }
}
