//! Ten thousand watchers on one server, some of whom do not read: in the end each knows what a get answers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use seaworthy_client::proto::seaworthy::v1::{
    self as pb, fleet_change::Change, fleet_service_client::FleetServiceClient,
    health_service_client::HealthServiceClient, watch_fleet_response::Message,
};
use tokio::{sync::Semaphore, task::JoinSet, time::sleep};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

use crate::harness::{Registered, TestServer, register, registration, report};

const CONNECTIONS: usize = 100;
/// Fewer than follow health: each is told everything, and what it reads costs more than what is under test.
const OF_THE_FLEET: usize = 10;
const OF_HEALTH: usize = 90;
const SLOW: usize = 16;
const INSTANCES: usize = 4;
const CHANGES: usize = 12;
/// Who does not read is given what is known twice at the most: once on its way, once waiting to go. There are more
/// than three times as many changes, so that it falls behind.
const HISTORY: usize = 5;
/// Less than any message, in bytes.
const NARROW: u32 = 64;
/// Longer than all of it takes anywhere.
const ALL_OF_IT: Duration = Duration::from_secs(120);
const LAST_WORD: &str = "the last word";

/// What a watcher of the fleet knows: the revision and the cause of each instance.
type Known = BTreeMap<(String, String), (u64, String)>;

fn learn(known: &mut Known, instance: pb::Instance) {
    let of = instance.registration.unwrap();
    known.insert((of.service, of.instance_id), (instance.revision, instance.cause));
}

/// A watcher of the fleet, from its first message on.
struct Mirror {
    stream: Streaming<pb::WatchFleetResponse>,
    known: Known,
    resets: usize,
}

impl Mirror {
    async fn open(channel: Channel) -> Self {
        let opened = FleetServiceClient::new(channel).watch_fleet(pb::WatchFleetRequest::default()).await;
        let mut mirror = Self { stream: opened.unwrap().into_inner(), known: Known::new(), resets: 0 };
        while !mirror.take().await {}
        mirror
    }

    /// Takes one message. True: it ends full state.
    async fn take(&mut self) -> bool {
        match self.stream.message().await.unwrap().expect("not the end").message {
            Some(Message::Reset(reset)) => {
                self.resets += usize::from(reset.reason() == pb::ResetReason::TooFarBehind);
                self.known.clear();
            }
            Some(Message::Snapshot(part)) => {
                part.instances.into_iter().for_each(|instance| learn(&mut self.known, instance));
                return part.complete;
            }
            Some(Message::Change(change)) => {
                if let Some(Change::Instance(instance)) = change.change {
                    learn(&mut self.known, instance);
                }
            }
            _ => {}
        }
        false
    }

    /// Reads until the last change has come.
    async fn until_the_last(mut self) -> (Known, usize) {
        while !self.known.contains_key(&("zebra".to_owned(), "the-last".to_owned())) {
            self.take().await;
        }
        (self.known, self.resets)
    }
}

/// Follows a component until it has said its last word.
async fn follow(mut stream: Streaming<pb::WatchHealthResponse>) -> String {
    loop {
        let health = stream.message().await.unwrap().expect("not the end").health.unwrap();
        if health.cause == LAST_WORD {
            return health.cause;
        }
    }
}

fn lasting(service: &str, id: &str) -> pb::Registration {
    let mut registration = registration(service, id);
    // Nothing happens by time while this is under way.
    registration.lease_ttl = Some(prost_types::Duration { seconds: 600, nanos: 0 });
    registration.components[0].report_interval = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    registration
}

async fn change(health: &mut HealthServiceClient<Channel>, who: &Registered, word: &str) {
    report(health, who, pb::HealthState::Unhealthy, word).await.unwrap();
}

async fn all_of_it() {
    let server = TestServer::start_with(|config| {
        config.fleet.change_history = HISTORY.try_into().unwrap();
    })
    .await;
    let (mut fleet, mut health) = (server.fleet().await, server.health().await);
    let mut members = Vec::new();
    for number in 0..INSTANCES {
        members.push(register(&mut fleet, lasting("orders", &format!("i-{number}"))).await);
    }
    // Some take next to nothing until they read again.
    let narrow = Endpoint::from_shared(server.url()).unwrap().initial_stream_window_size(NARROW);
    let narrow = narrow.connect().await.unwrap();
    let mut slow = Vec::new();
    for _ in 0..SLOW {
        slow.push(Mirror::open(narrow.clone()).await);
    }
    let go = Arc::new(Semaphore::new(0));
    let (mut mirrors, mut followers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..CONNECTIONS {
        let channel = server.channel().await;
        for _ in 0..OF_THE_FLEET {
            let (channel, go) = (channel.clone(), Arc::clone(&go));
            mirrors.spawn(async move {
                let mirror = Mirror::open(channel).await;
                go.add_permits(1);
                mirror.until_the_last().await
            });
        }
        for number in 0..OF_HEALTH {
            let (channel, go) = (channel.clone(), Arc::clone(&go));
            let target = pb::WatchHealthRequest {
                service: "orders".to_owned(),
                instance_id: format!("i-{}", number % INSTANCES),
                component: "database".to_owned(),
            };
            followers.spawn(async move {
                let stream = HealthServiceClient::new(channel).watch_health(target).await.unwrap();
                go.add_permits(1);
                follow(stream.into_inner()).await
            });
        }
    }
    let watchers = CONNECTIONS * (OF_THE_FLEET + OF_HEALTH);
    drop(go.acquire_many(watchers.try_into().unwrap()).await.unwrap());

    for number in 0..CHANGES {
        change(&mut health, &members[number % INSTANCES], &format!("word {number}")).await;
    }
    for who in &members {
        change(&mut health, who, LAST_WORD).await;
    }
    register(&mut fleet, lasting("zebra", "the-last")).await;
    let listed = fleet.list_instances(pb::ListInstancesRequest::default()).await.unwrap().into_inner();
    let mut expected = Known::new();
    listed.instances.into_iter().for_each(|instance| learn(&mut expected, instance));
    assert_eq!(expected.len(), INSTANCES + 1);

    assert_eq!(mirrors.len() + followers.len(), watchers);
    while let Some(mirror) = mirrors.join_next().await {
        assert_eq!(mirror.unwrap().0, expected);
    }
    while let Some(follower) = followers.join_next().await {
        assert_eq!(follower.unwrap(), LAST_WORD);
    }
    // Whoever did not read held up nobody, and misses nothing.
    for mirror in slow {
        let (known, resets) = mirror.until_the_last().await;
        assert_eq!(known, expected);
        assert!(resets > 0, "who did not read is told that it fell behind");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_watchers_know_in_the_end_what_a_get_answers() {
    tokio::select! {
        () = all_of_it() => {}
        () = sleep(ALL_OF_IT) => panic!("not within {ALL_OF_IT:?}"),
    }
}
