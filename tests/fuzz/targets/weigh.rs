//! The parts of a request, counted before it is unfolded: whatever comes, decoding makes no more than was counted, in
//! bytes of memory as well, also where it fails.
#![no_main]

use std::alloc::System;

use libfuzzer_sys::fuzz_target;
use prost::{Message, Name};
use seaworthy::api::{
    proto::v1 as pb,
    weigh::{self, Unfit},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that one part may take as a value, with what a list that grows throws away.
const OF_A_PART: usize = 4096;
/// Bytes that one byte may: of a number in a list, likewise.
const OF_A_BYTE: usize = 16;

fn one<M: Message + Name + Default>(bytes: &[u8]) {
    let Ok(parts) = weigh::parts(&M::full_name(), bytes) else { return };
    let region = Region::new(COUNTED);
    let message = M::decode(bytes);
    let made = region.change().bytes_allocated;
    let most = OF_A_PART * (parts + 1) + OF_A_BYTE * bytes.len();
    assert!(made <= most, "{}: {made} bytes of {parts} parts in {} bytes", M::full_name(), bytes.len());
    if let Ok(message) = message {
        let again = weigh::parts(&M::full_name(), &message.encode_to_vec());
        assert!(again != Err(Unfit::Broken), "{}: nothing is wrong with it", M::full_name());
    }
}

fuzz_target!(|bytes: &[u8]| {
    one::<pb::AttachRequest>(bytes);
    one::<pb::RegisterRequest>(bytes);
    one::<pb::HeartbeatRequest>(bytes);
    one::<pb::DeregisterRequest>(bytes);
    one::<pb::PutServiceRequest>(bytes);
    one::<pb::ListInstancesRequest>(bytes);
    one::<pb::RemoveInstanceRequest>(bytes);
    one::<pb::WatchFleetRequest>(bytes);
    one::<pb::ReportHealthRequest>(bytes);
    one::<pb::WatchHealthRequest>(bytes);
});
