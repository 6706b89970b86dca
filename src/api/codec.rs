//! How messages become bytes on a stream: prost, with buffers that fit small messages.
//!
//! Every open stream holds a buffer for each direction. With tonic's default of 8 KiB each, ten
//! thousand sessions that say a few bytes every few seconds would hold 160 MiB. Larger messages let a
//! buffer grow to what they need.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{BufferSettings, Codec};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// What a buffer holds before it grows, in bytes: some dozens of heartbeats, or most requests.
const BUFFER: usize = 512;
/// A message that fills this much of a buffer is sent before the next one is encoded, in bytes.
const SEND_FROM: usize = 32 * 1024;

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
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, SEND_FROM))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, SEND_FROM))
    }
}
