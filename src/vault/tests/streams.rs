//! What a stream says of how far it is safe.

use std::time::Duration;

use super::*;

/// Bytes of packs. Nothing compresses: so many have to be there.
async fn stored(bucket: &InMemory) -> u64 {
    let all = objects(bucket).await;
    all.iter().filter(|(name, _)| name.starts_with("packs/")).map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Whoever lost its connection goes on from there: what is before is in the bucket, and it does get on.
#[tokio::test]
async fn what_a_stream_says_is_durable_is_in_the_bucket_and_grows() {
    let bucket = Arc::new(InMemory::new());
    let faulty = Arc::new(Faulty::new(Arc::clone(&bucket)));
    let vault = Vault::open(options(Arc::clone(&faulty) as _, 1)).await.unwrap();
    let writing = Writing::begin(&vault, &orders(), vault.new_id().unwrap()).await.unwrap();
    let mut stream = writing.intake().stream(How { incompressible: true, ..HOW });
    assert_eq!(stream.durable(), 0);
    let (mut told, mut growths) = (0, 0);
    for seed in 0..40 {
        stream.push(Bytes::from(noise(seed, 2 << 20))).await.unwrap();
        let durable = stream.durable();
        assert!(durable >= told && durable <= stream.received(), "{told}, then {durable}");
        growths += usize::from(durable > told);
        told = durable;
        let stored = stored(&bucket).await;
        assert!(durable <= stored, "{durable} are said to be durable, and {stored} are there");
    }
    assert!(growths > 1, "40 MiB and more are in packs, and nobody says so: {told}");
    // With nothing stored any more it stays where it is, and then says why nothing more is taken.
    faulty.set(Some((0, Fault::TakesNothing)));
    let refused = async {
        for seed in 40..120 {
            stream.push(Bytes::from(noise(seed, 2 << 20))).await?;
        }
        Ok::<_, Problem>(())
    };
    let refused = tokio::time::timeout(Duration::from_secs(120), refused).await.expect("no hang");
    assert!(matches!(refused, Err(Problem::Place { .. })), "{refused:?}");
    assert!(stream.durable() <= stored(&bucket).await);
}
