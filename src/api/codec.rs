//! How messages become bytes on a stream, and bytes messages: prost, with buffers that fit small messages, and
//! answers that were encoded before.
//!
//! Every open stream holds a buffer for each direction. With tonic's default of 8 KiB each, ten
//! thousand sessions that say a few bytes every few seconds would hold 160 MiB. Larger messages let a
//! buffer grow to what they need, and the next one lets that go: a buffer that is full, and whose bytes somebody else
//! still holds, is not used again. Here that is who reads, of what `guard::questions` hands on piece by piece so that
//! it fills its buffer; and `guard::answers` where we write.
//!
//! What comes is weighed before it is unfolded, and bytes that are no message are an error of the caller.

use std::marker::PhantomData;

use bytes::{Buf as _, BufMut as _, Bytes};
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use super::weigh::{self, Unfit};
use crate::{
    error::{Error, Kind, Reason},
    guard::{bounds::SMALL_QUESTION, status::status},
};

/// What a buffer holds before it grows, in bytes: some heartbeats.
const BUFFER: usize = 64;
/// A message that fills this much of a buffer is sent before the next one is encoded, in bytes.
const SEND_FROM: usize = 32 * 1024;

/// How it is said that bytes are no message.
pub const UNREADABLE: &str = "could not be read: ";

/// A message as bytes: the answers of watches, so that what many are told is encoded once. `build.rs` puts it
/// in the place of their messages. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Encoded(Bytes);

impl Encoded {
    /// Encodes a message.
    pub fn of(message: &impl Message) -> Self {
        Self(message.encode_to_vec().into())
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is the message with nothing set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What can be answered: a message, or one that was encoded before.
pub trait Outgoing {
    /// Writes it.
    ///
    /// # Errors
    /// It does not fit, which a buffer that grows never says.
    fn write(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status>;
}

impl<T: Message> Outgoing for T {
    fn write(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // At once what it takes, or room for some small ones: it would grow by doubling.
        let length = self.encoded_len();
        if buffer.chunk_mut().len() < length {
            buffer.reserve(length.max(BUFFER));
        }
        self.encode(buffer).map_err(|cause| Status::internal(cause.to_string()))
    }
}

impl Outgoing for Encoded {
    fn write(self, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(self.0.len());
        buffer.put(self.0);
        Ok(())
    }
}

/// Writes messages.
#[derive(Clone, Copy, Debug)]
pub struct Writer<T>(PhantomData<T>);

impl<T: Outgoing> Encoder for Writer<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.write(buffer)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, SEND_FROM)
    }
}

/// Messages in small buffers.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Outgoing + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Writer<T>;
    type Decoder = Weighed<U>;

    fn encoder(&mut self) -> Self::Encoder {
        Writer(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        Weighed { held: Bytes::new(), of: PhantomData }
    }
}

/// What callers are told whose bytes are no message.
fn broken(wrong: &str) -> Status {
    status(&Error::field("message", format!("{UNREADABLE}{wrong}")))
}

/// Decodes what is not too heavy.
#[derive(Clone, Debug)]
pub struct Weighed<U> {
    /// The last message, where it was not small, so that its buffer is not used again.
    held: Bytes,
    of: PhantomData<U>,
}

impl<U: Message + Name + Default> Decoder for Weighed<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // What comes is in one piece: tonic has collected it.
        if let Err(unfit) = weigh::check::<U>(buffer.chunk()) {
            return Err(match unfit {
                Unfit::Broken => broken("something in it is cut off by the end of what it is in"),
                Unfit::Heavy => {
                    let message = format!("message has more than {} parts; send less at once", weigh::MOST);
                    status(&Error::new(Kind::ResourceExhausted, Reason::MessageTooLarge, message))
                }
            });
        }
        self.held = Bytes::new();
        let message = if buffer.remaining() < SMALL_QUESTION {
            U::decode(buffer)
        } else {
            self.held = buffer.copy_to_bytes(buffer.remaining());
            U::decode(&*self.held)
        };
        message.map(Some).map_err(|wrong| broken(&wrong.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, SEND_FROM)
    }
}
