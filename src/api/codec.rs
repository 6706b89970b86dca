//! How messages become bytes on a stream, and bytes messages: prost, with buffers that fit small messages.
//!
//! Every open stream holds a buffer for each direction. With tonic's default of 8 KiB each, ten
//! thousand sessions that say a few bytes every few seconds would hold 160 MiB. Larger messages let a
//! buffer grow to what they need.
//!
//! What comes is weighed before it is unfolded, and bytes that are no message are an error of the caller.

use std::marker::PhantomData;

use bytes::Buf as _;
use prost::{Message, Name};
use tonic::{
    Status,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder},
};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::{status::status, weigh};
use crate::error::{Error, Kind, Reason};

/// What a buffer holds before it grows, in bytes: some dozens of heartbeats, or most requests.
const BUFFER: usize = 512;
/// A message that fills this much of a buffer is sent before the next one is encoded, in bytes.
const SEND_FROM: usize = 32 * 1024;

/// What every error of a decoder begins with.
pub const UNREADABLE: &str = "could not be read: ";

/// Prost messages in small buffers.
#[derive(Clone, Copy, Debug)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Weighed<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, SEND_FROM))
    }

    fn decoder(&mut self) -> Self::Decoder {
        Weighed(PhantomData)
    }
}

/// Decodes what is not too heavy.
#[derive(Clone, Copy, Debug)]
pub struct Weighed<U>(PhantomData<U>);

impl<U: Message + Name + Default> Decoder for Weighed<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // What comes is in one piece: tonic has collected it.
        if !weigh::is_light(&U::full_name(), buffer.chunk()) {
            let message = format!("message has more than {} parts; send less at once", weigh::MOST);
            return Err(status(&Error::new(Kind::ResourceExhausted, Reason::MessageTooLarge, message)));
        }
        match U::decode(buffer) {
            Ok(message) => Ok(Some(message)),
            Err(wrong) => Err(status(&Error::field("message", format!("{UNREADABLE}{wrong}")))),
        }
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, SEND_FROM)
    }
}
