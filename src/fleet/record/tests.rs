//! What is written is read as it was.

use super::*;
use crate::fleet::registration::Capture;
use crate::id::Entropy;

#[test]
fn a_share_is_read_as_it_was_written() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..10_000 {
        let share = random.f64() * 100.0;
        let spec = Spec {
            objectives: Objectives { availability_percent: Some(share), ..Objectives::default() },
            ..Spec::default()
        };
        let value = encode_operator_spec(&spec, SystemTime::UNIX_EPOCH).unwrap();
        let key = service_key(&ServiceName::parse("orders").unwrap());
        let (_, read) = decode_operator_spec(&Entry { key, value, revision: 1 }).unwrap();
        assert_eq!(*read.spec, spec, "{share}");
    }
}

#[test]
fn a_registration_is_read_as_it_was_written() {
    let name = |text: &str| ServiceName::parse(text).unwrap();
    let component = |text: &str, depends_on: &[usize]| Component {
        name: ComponentName::parse(text).unwrap(),
        kind: "sqlite".to_owned(),
        essential: depends_on.is_empty(),
        depends_on: depends_on.to_vec(),
        capabilities: vec![Capability::Health, Capability::Backup],
        report_interval: Duration::from_secs(5),
        thresholds: Thresholds { fail: NonZeroU32::MIN, pass: NonZeroU32::MIN },
        check: None,
        capture: Capture::default(),
    };
    let spec = Spec { depends_on: [(name("payments"), Need::Soft)].into(), ..Spec::default() };
    let registration = Registration {
        key: InstanceKey { service: name("orders"), id: InstanceId::parse("i-1").unwrap() },
        version: "1.2.3".to_owned(),
        zone: "eu-1".to_owned(),
        address: "127.0.0.1:7001".to_owned(),
        labels: [("team".to_owned(), "checkout".to_owned())].into_iter().collect(),
        components: [component("database", &[]), component("cache", &[0])].into(),
        declared_spec: Some(Arc::new(spec)),
        lease_ttl: Duration::from_millis(15_001),
        lifecycle: Lifecycle::Ready,
    };
    let token = Entropy::seeded(1).session_token().unwrap().hash();
    let birth = Birth {
        registration: Arc::new(registration),
        incarnation: 7,
        token,
        request: Some(TokenHash::of("attempt")),
        peer: "127.0.0.1:5".into(),
        registered: from_millis(1_700_000_000_123),
        confirmed: true,
    };
    let key = instance_key(&birth.registration.key);
    let entry = Entry { key, value: encode_instance(&birth).unwrap(), revision: 9 };
    let read = decode_instance(&entry).unwrap();
    assert_eq!(read.registration, birth.registration);
    assert_eq!((read.incarnation, read.token, read.request), (7, token, birth.request));
    assert_eq!((&*read.peer, read.registered), ("127.0.0.1:5", birth.registered));
    assert_eq!(encode_instance(&Birth { confirmed: false, ..read }).unwrap(), entry.value);
}
