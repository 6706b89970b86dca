//! Connections that are too many, silent, dead, or never read.

use tokio::{io::AsyncReadExt as _, net::TcpSocket};

use crate::{
    raw::{self, Raw, Said, call, frame},
    victim::{MIB, Victim, in_time},
};

/// Silence is noticed within two seconds.
const IMPATIENT: &str = "[grpc]\nkeepalive_interval = '1s'\nkeepalive_timeout = '1s'\n";

/// More connections than there are places, from as many addresses as it takes.
#[tokio::test]
async fn connections_in_all_are_bounded_and_those_that_are_served_stay() {
    let victim = Victim::with("[grpc]\nmax_connections = 64\nmax_connections_per_peer = 32\n").await;
    let refused = r#"seaworthy_connections_refused_total{why="too_many",listener="grpc"}"#;
    let mut held = Vec::new();
    for peer in 2..6 {
        for _ in 0..40 {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind(format!("127.0.0.{peer}:0").parse().unwrap()).unwrap();
            held.push(in_time(socket.connect(victim.grpc)).await.unwrap());
        }
    }
    // Two peers have 32 and 31 of 64 places, with the good one beside them.
    let refusals = 160 - 63;
    in_time(async { while victim.figure(refused).await < refusals {} }).await;
    assert_eq!(victim.figure(refused).await, refusals);
    let mut ended = 0;
    for stream in held.iter_mut().skip(63 + 8 + 9) {
        ended += usize::from(!matches!(in_time(stream.read(&mut [0])).await, Ok(1..)));
    }
    assert_eq!(ended, 160 - 80);
    victim.unharmed(8 * MIB).await;
}

/// Its machine is gone: nothing comes, not even the answer to a PING.
#[tokio::test]
async fn a_peer_that_answers_no_ping_is_let_go() {
    let victim = Victim::with(IMPATIENT).await;
    let mut held = Vec::new();
    for said in [Vec::new(), call(1, "/seaworthy.v1.FleetService/Attach")] {
        let mut raw = Raw::open(victim.grpc).await;
        raw.send(&said).await.unwrap();
        held.push(raw);
    }
    // Not even SETTINGS, after the preface.
    let mut mute = Raw::silent(victim.grpc).await;
    mute.send(raw::PREFACE).await.unwrap();
    held.push(mute);
    for mut raw in held {
        raw.end(&mut Said::default()).await;
    }
    in_time(async { while victim.figure("seaworthy_connections").await > 1 {} }).await;
    victim.unharmed(8 * MIB).await;
}

/// Asks for answers without end, and takes none of them: nothing more is read from it, and it is let go.
#[tokio::test]
async fn a_peer_that_takes_no_byte_is_let_go() {
    for one in [frame(raw::PING, 0, 0, &[7; 8]), frame(raw::SETTINGS, 0, 0, &[])] {
        let victim = Victim::with(IMPATIENT).await;
        let mut raw = Raw::open(victim.grpc).await;
        let many = one.repeat(10_000);
        // Once the server reads no more, nothing can be sent until it ends the connection.
        in_time(async { while raw.send(&many).await.is_ok() {} }).await;
        // What h2 makes of the end of a write depends on the frame that it was at.
        let (stuck, broken) = (
            victim.figure(r#"seaworthy_connections_ended_total{why="stuck"}"#).await,
            victim.figure(r#"seaworthy_connections_ended_total{why="broken"}"#).await,
        );
        assert_eq!(stuck + broken, 1);
        victim.unharmed(8 * MIB).await;
    }
}

/// Bytes that are no HTTP/2, before the preface and in it.
#[tokio::test]
async fn garbage_is_let_go_at_once_and_counted() {
    let victim = Victim::start().await;
    let failed = r#"seaworthy_connections_refused_total{why="handshake",listener="grpc"}"#;
    let garbage: [&[u8]; 4] =
        [&[0; 24], b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"\xff\xfe\xfd", b"SSH-2.0-x\r\n"];
    let harm = || async {
        for bytes in garbage {
            let mut raw = Raw::silent(victim.grpc).await;
            raw.send(bytes).await.ok();
            // Whoever speaks HTTP/1 is told the right port; everybody is let go.
            raw.send(b"\r\n\r\n").await.ok();
            raw.end(&mut Said::default()).await;
        }
    };
    victim.good.beside(harm).await;
    assert!(victim.figure(failed).await >= 4);
    victim.unharmed(8 * MIB).await;
}
