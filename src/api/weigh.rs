//! Weighs a message before it is unfolded: an empty part is two bytes on the wire, and hundreds as a value.
//!
//! A message within `grpc.max_message_bytes` could so take a hundred times its size, and what is compressed a hundred
//! thousand times. Parts are messages within the message, entries of maps and repeated texts, counted by the
//! descriptors. Whether they are right is decoding's to say.

use std::sync::LazyLock;

use bytes::Buf as _;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};

use super::proto::DESCRIPTORS;

/// Parts that a message may have: ten times what the largest that is allowed has (1,000 heartbeats, or 64 components
/// that depend on each other).
pub const MOST: usize = 1 << 16;
/// Bytes of messages that are not weighed: they cannot unfold to much.
const LIGHT: usize = 64 * 1024;
/// Messages within messages; prost takes no more.
const DEPTH: usize = 100;

/// Whether the message of this name, in these bytes, has no more parts than it may.
pub fn is_light(name: &str, bytes: &[u8]) -> bool {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());
    if bytes.len() < LIGHT {
        return true;
    }
    // A test keeps that every message that is taken is described.
    let Some(of) = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name)) else { return false };
    let mut left = MOST;
    count(&of, bytes, DEPTH, &mut left)
}

/// Takes the parts of a message from what is left; false if that is not enough.
fn count(of: &MessageDescriptor, mut bytes: &[u8], depth: usize, left: &mut usize) -> bool {
    while let Ok((number, wire_type)) = decode_key(&mut bytes) {
        let length = match wire_type {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0),
            WireType::ThirtyTwoBit => Ok(4),
            WireType::SixtyFourBit => Ok(8),
            WireType::LengthDelimited => decode_varint(&mut bytes),
            // Nobody here has groups; what is in one counts as if it were not.
            WireType::StartGroup | WireType::EndGroup => Ok(0),
        };
        // Whatever is cut off, decoding finds as well, and before it takes anything of it.
        let Some(length) = length.ok().and_then(|length| usize::try_from(length).ok()) else { return true };
        let Some(part) = bytes.get(..length) else { return true };
        bytes.advance(length);
        if wire_type != WireType::LengthDelimited {
            continue;
        }
        let Some(field) = of.get_field(number) else { continue };
        *left = match left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        if let (Kind::Message(of), 1..) = (field.kind(), depth)
            && !count(&of, part, depth - 1, left)
        {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use prost::{Message as _, Name as _};
    use seaworthy_client::proto::seaworthy::v1 as pb;

    use super::*;

    fn beats(count: usize, token: &str) -> Vec<u8> {
        let beat = || pb::InstanceHeartbeat { instance: None, session_token: token.to_owned() };
        pb::HeartbeatRequest { heartbeats: (0..count).map(|_| beat()).collect() }.encode_to_vec()
    }

    #[test]
    fn parts_are_counted_and_bytes_are_not() {
        let light = |bytes: &[u8]| is_light(&pb::HeartbeatRequest::full_name(), bytes);
        assert!(light(&beats(1000, &"x".repeat(1000))));
        assert!(light(&beats(MOST, "")), "as many as there may be");
        assert!(!light(&beats(MOST + 1, "")));
        assert!(!light(&beats(MOST / 2 + 1, "x")), "a text is a part as well");
    }

    #[test]
    fn parts_within_parts_are_counted() {
        let components = vec![pb::Component::default(); MOST];
        let registration = Some(pb::Registration { components, ..pb::Registration::default() });
        let request = pb::RegisterRequest { registration, ..pb::RegisterRequest::default() };
        assert!(!is_light(&pb::RegisterRequest::full_name(), &request.encode_to_vec()));
    }

    #[test]
    fn what_is_no_message_is_left_to_decoding() {
        let name = pb::HeartbeatRequest::full_name();
        for bytes in [vec![0xff; 2 * LIGHT], vec![0x0b; 2 * LIGHT], vec![0; 2 * LIGHT]] {
            assert!(is_light(&name, &bytes));
        }
    }

    #[test]
    fn every_request_is_described() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let ours = pool.services().filter(|service| service.package_name() == "seaworthy.v1");
        assert!(ours.flat_map(|service| service.methods().collect::<Vec<_>>()).count() > 15);
        assert!(is_light(&pb::AttachRequest::full_name(), &[0; 2 * LIGHT]));
    }
}
