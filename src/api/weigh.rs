//! Weighs a message before it is unfolded: an empty part is two bytes on the wire, and hundreds as a value.
//!
//! A message within `grpc.max_message_bytes` could so take a hundred times its size, and what is compressed a hundred
//! thousand times. Parts are messages within the message, entries of maps, repeated texts and repeated numbers, counted
//! by the descriptors. A part that is longer than what it is in is refused here: prost reads it to its own end, and
//! compares that with the end of what it is in only then, so that decoding may make what nobody has counted. Whatever
//! else may be wrong is decoding's to say.

use std::sync::LazyLock;

use prost::{
    Name,
    encoding::{WireType, decode_key, decode_varint},
};
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};

use super::proto::DESCRIPTORS;

/// Parts that a message may have: ten times what the largest that is allowed has (1,000 heartbeats, or 64 components
/// that depend on each other).
pub const MOST: usize = 1 << 16;
/// Bytes of messages that are not weighed: they cannot unfold to much.
const LIGHT: usize = 64 * 1024;
/// Messages within messages; prost takes no more.
const DEPTH: usize = 100;

/// Why a message is not unfolded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unfit {
    /// It has more parts than it may.
    Heavy,
    /// It is no message: something in it is cut off by the end of what it is in.
    Broken,
}

/// Whether a message in these bytes may be unfolded.
///
/// # Errors
/// It is too heavy or broken. Short ones may be broken all the same, which decoding finds.
pub fn check<M: Name>(bytes: &[u8]) -> Result<(), Unfit> {
    // Most are short, and of those not even the name is made.
    if bytes.len() < LIGHT { Ok(()) } else { parts(&M::full_name(), bytes).map(drop) }
}

/// The parts of the message of this name, whatever its length: decoding makes no more, even where it fails.
///
/// # Errors
/// They are more than a message may have, or it is broken: then decoding fails as well, but for entries of maps that say
/// that they are none.
pub fn parts(name: &str, bytes: &[u8]) -> Result<usize, Unfit> {
    static POOL: LazyLock<Option<DescriptorPool>> =
        LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());
    // A test keeps that every message that is taken is described.
    let of = POOL.as_ref().and_then(|pool| pool.get_message_by_name(name)).ok_or(Unfit::Heavy)?;
    let mut left = MOST;
    count(&of, bytes, DEPTH, &mut left)?;
    Ok(MOST - left)
}

/// Takes the parts of a message from what is left.
fn count(of: &MessageDescriptor, mut bytes: &[u8], depth: usize, left: &mut usize) -> Result<(), Unfit> {
    // Groups that are open. Nobody here has any: decoding skips what is in them, or fails at the first.
    let mut groups = 0_usize;
    while !bytes.is_empty() {
        let (number, wire_type) = decode_key(&mut bytes).map_err(|_| Unfit::Broken)?;
        let field = of.get_field(number).filter(|_| groups == 0);
        // prost reads entries of maps as such whatever their wire type says, and would go another way than this.
        if wire_type != WireType::LengthDelimited && field.as_ref().is_some_and(FieldDescriptor::is_map) {
            return Err(Unfit::Broken);
        }
        let length = match wire_type {
            WireType::Varint => decode_varint(&mut bytes).map(|_| 0),
            WireType::ThirtyTwoBit => Ok(4),
            WireType::SixtyFourBit => Ok(8),
            WireType::LengthDelimited => decode_varint(&mut bytes),
            WireType::StartGroup => {
                groups += 1;
                continue;
            }
            WireType::EndGroup => {
                groups = groups.checked_sub(1).ok_or(Unfit::Broken)?;
                continue;
            }
        };
        let length = length.ok().and_then(|length| usize::try_from(length).ok());
        let (part, rest) = length.and_then(|length| bytes.split_at_checked(length)).ok_or(Unfit::Broken)?;
        bytes = rest;
        let Some(field) = field else { continue };
        let made = match (wire_type, field.kind()) {
            // Numbers one behind the other, each of a byte or more.
            (WireType::LengthDelimited, kind) if field.is_list() && is_number(&kind) => part.len().max(1),
            (WireType::LengthDelimited, _) => 1,
            (_, kind) if field.is_list() && is_number(&kind) => 1,
            _ => continue,
        };
        *left = left.checked_sub(made).ok_or(Unfit::Heavy)?;
        if let (Kind::Message(of), 1..) = (field.kind(), depth) {
            count(&of, part, depth - 1, left)?;
        }
    }
    if groups == 0 { Ok(()) } else { Err(Unfit::Broken) }
}

fn is_number(kind: &Kind) -> bool {
    !matches!(kind, Kind::Message(_) | Kind::String | Kind::Bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;
    use seaworthy_client::proto::seaworthy::v1 as pb;

    use super::*;

    fn beats(count: usize, token: &str) -> Vec<u8> {
        let beat = || pb::InstanceHeartbeat { instance: None, session_token: token.to_owned() };
        pb::HeartbeatRequest { heartbeats: (0..count).map(|_| beat()).collect() }.encode_to_vec()
    }

    #[test]
    fn parts_are_counted_and_bytes_are_not() {
        let check = |bytes: &[u8]| check::<pb::HeartbeatRequest>(bytes);
        assert_eq!(check(&beats(1000, &"x".repeat(1000))), Ok(()));
        assert_eq!(check(&beats(MOST, "")), Ok(()), "as many as there may be");
        assert_eq!(check(&beats(MOST + 1, "")), Err(Unfit::Heavy));
        assert_eq!(check(&beats(MOST / 2 + 1, "x")), Err(Unfit::Heavy), "a text is a part as well");
    }

    #[test]
    fn parts_within_parts_are_counted() {
        let components = vec![pb::Component::default(); MOST];
        let registration = Some(pb::Registration { components, ..pb::Registration::default() });
        let request = pb::RegisterRequest { registration, ..pb::RegisterRequest::default() };
        assert_eq!(check::<pb::RegisterRequest>(&request.encode_to_vec()), Err(Unfit::Heavy));
    }

    #[test]
    fn numbers_in_a_row_are_counted_however_they_come() {
        let component = pb::Component { capabilities: vec![0; MOST], ..pb::Component::default() };
        let name = pb::Component::full_name();
        assert_eq!(parts(&name, &component.encode_to_vec()), Ok(MOST));
        assert_eq!(parts(&name, &[0x28, 1].repeat(MOST)), Ok(MOST));
        assert_eq!(parts(&name, &[0x28, 1].repeat(MOST + 1)), Err(Unfit::Heavy));
        assert_eq!(parts(&name, &[0x18, 1].repeat(MOST + 1)), Ok(0), "the last one counts");
    }

    #[test]
    fn what_is_no_message_is_broken_and_short_ones_are_left_to_decoding() {
        for byte in [0xff, 0x0b, 0] {
            assert_eq!(check::<pb::HeartbeatRequest>(&vec![byte; LIGHT]), Err(Unfit::Broken));
            assert_eq!(check::<pb::HeartbeatRequest>(&vec![byte; LIGHT - 1]), Ok(()));
        }
    }

    #[test]
    fn groups_are_skipped_with_what_is_in_them() {
        let name = pb::HeartbeatRequest::full_name();
        // An unknown group with what would be broken as a heartbeat; then one heartbeat.
        let unknown = [0xa3, 0x06, 0x0a, 0x01, 0x0a, 0xa4, 0x06, 0x0a, 0x00];
        assert_eq!(parts(&name, &unknown), Ok(1));
        assert_eq!(pb::HeartbeatRequest::decode(&unknown[..]).unwrap().heartbeats.len(), 1);
        for broken in [&unknown[..5], &unknown[5..]] {
            assert_eq!(parts(&name, broken), Err(Unfit::Broken));
            assert!(pb::HeartbeatRequest::decode(broken).is_err());
        }
    }

    #[test]
    fn an_entry_of_a_map_that_says_it_is_none_hides_nothing() {
        // A label that says it is a group: whoever goes by that sees none of the components behind it.
        let text = [0x0a, 8, 1, 1, 1, 1, 1, 1, 1, 1];
        let components = [[0x3a, 10].as_slice(), &text].concat().repeat(100);
        let end = [[0x2a, 0x34, 0x0a, 50].as_slice(), &[1; 50]].concat();
        let hidden = [[0x33, 10].as_slice(), &text, &components, &end].concat();
        assert_eq!(parts(&pb::Registration::full_name(), &hidden), Err(Unfit::Broken));
        assert_eq!(pb::Registration::decode(&hidden[..]).unwrap().components.len(), 100, "prost reads it");
    }

    fn requests() -> Vec<MessageDescriptor> {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let ours = pool.services().filter(|service| service.package_name() == "seaworthy.v1");
        ours.flat_map(|service| service.methods().map(|one| one.input()).collect::<Vec<_>>()).collect()
    }

    #[test]
    fn every_request_is_described() {
        assert!(requests().len() > 15);
        assert_eq!(parts(&pb::AttachRequest::full_name(), &[]), Ok(0));
    }

    /// What prost does, part by part: a message within is read from all bytes that are left, and only at its end is
    /// that compared with the end of what it is in. Counts the parts that it makes until it ends or fails.
    fn unfold(
        of: &MessageDescriptor,
        bytes: &mut &[u8],
        end: usize,
        depth: usize,
        made: &mut usize,
    ) -> Option<()> {
        while bytes.len() > end {
            let (number, wire_type) = decode_key(bytes).ok()?;
            let field = of.get_field(number);
            // It does not ask what an entry of a map says that it is.
            if let Some(field) = field.as_ref()
                && (wire_type == WireType::LengthDelimited || field.is_map())
            {
                *made += 1;
                let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
                let after = bytes.len().checked_sub(length)?;
                match field.kind() {
                    Kind::Message(of) => unfold(&of, bytes, after, depth.checked_sub(1)?, made)?,
                    _ => *bytes = &bytes[length..],
                }
            } else if field.is_some() && matches!(wire_type, WireType::StartGroup | WireType::EndGroup) {
                return None;
            } else {
                let context = prost::encoding::DecodeContext::default();
                prost::encoding::skip_field(wire_type, number, bytes, context).ok()?;
            }
        }
        (bytes.len() == end).then_some(())
    }

    /// Keys, lengths and ends that a message of ours may have, in any order.
    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => (1..12_u8, 0..12_u8).prop_map(|(field, length)| vec![field << 3 | 2, length]),
            2 => (1..12_u8).prop_map(|field| vec![field << 3 | 2, 0x80 | field, 0]),
            2 => (1..16_u8, 0..6_u8).prop_map(|(field, kind)| vec![field << 3 | kind]),
            1 => any::<u8>().prop_map(|byte| vec![byte]),
        ];
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// A message that is right, of which some bytes were changed.
    fn mutations() -> impl Strategy<Value = Vec<u8>> {
        let component = pb::Component { depends_on: vec!["x".into(); 3], ..pb::Component::default() };
        let registration = pb::Registration {
            components: vec![component; 3],
            labels: [("a".to_owned(), "b".to_owned())].into(),
            ..pb::Registration::default()
        };
        let register = pb::RegisterRequest { registration: Some(registration), ..Default::default() };
        let how = Some(pb::open_session::How::Register(register));
        let open = pb::attach_request::Message::Open(pb::OpenSession {
            how,
            takes_policies: false,
            takes_directives: false,
        });
        let right = pb::AttachRequest { message: Some(open) }.encode_to_vec();
        let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
        changes.prop_map(move |changes| {
            let mut bytes = right.clone();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = if byte < 128 { byte % 16 } else { bytes[at].wrapping_add(byte % 8) };
            }
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn decoding_makes_no_part_that_was_not_counted(
            bytes in prop_oneof![pieces(), mutations()], which in any::<prop::sample::Index>(),
        ) {
            static ALL: LazyLock<Vec<MessageDescriptor>> = LazyLock::new(requests);
            let all = &*ALL;
            let attach = pb::AttachRequest::full_name();
            for of in all.iter().filter(|of| of.full_name() == attach).chain([which.get(all)]) {
                let mut made = 0;
                unfold(of, &mut bytes.as_slice(), 0, DEPTH, &mut made);
                if let Ok(counted) = parts(of.full_name(), &bytes) {
                    prop_assert!(made <= counted, "{made} made of {counted}");
                }
            }
            if let Ok(message) = pb::AttachRequest::decode(bytes.as_slice()) {
                prop_assert!(parts(&attach, &message.encode_to_vec()).is_ok(), "nothing is wrong with it");
            }
        }
    }
}
