//! `-watch` and `-wait-for`: follows the status over lost connections.

use std::time::Duration;

use seaworthy_client::proto::grpc::health::v1::HealthCheckResponse;
use tokio::time::{sleep, timeout};
use tonic::Code;

use super::{
    NO_ANSWER, NO_CONNECTION, UNHEALTHY,
    args::Probe,
    ask::{Asked, Question, name},
};
use crate::cli::{exit::Exit, output::note};

/// Between attempts to connect: a server that starts is up soon, and is not harmed by this.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known while it waits; decides how it ends when the time is up.
struct Known {
    exit: Exit,
    why: String,
}

/// Follows until the wanted status came, or the time is up; without one, until Ctrl-C.
pub(super) async fn run(question: &Question, flags: &Probe) -> Exit {
    let mut known =
        Known { exit: NO_CONNECTION, why: format!("timeout: no connection to {:?}", question.addr) };
    let Some(_) = flags.wait_for else {
        return follow(question, flags, &mut known).await;
    };
    let ended = timeout(flags.wait_timeout, follow(question, flags, &mut known)).await;
    ended.unwrap_or_else(|_| {
        note(format_args!("{} (waited for {:?})", known.why, flags.wait_timeout));
        known.exit
    })
}

async fn follow(question: &Question, flags: &Probe, known: &mut Known) -> Exit {
    loop {
        match question.connect().await {
            Ok(mut asked) => {
                if let Some(exit) = session(question, flags, &mut asked, known).await {
                    return exit;
                }
            }
            Err(why) => {
                // Said once, not at every attempt.
                if flags.watch && known.why != why {
                    note(&why);
                }
                *known = Known { exit: NO_CONNECTION, why };
            }
        }
        sleep(PAUSE).await;
    }
}

/// Follows on one connection. Answers how to end, where there is no use in another connection.
async fn session(question: &Question, flags: &Probe, asked: &mut Asked, known: &mut Known) -> Option<Exit> {
    let mut stream = match asked.client.watch(question.request()).await {
        Ok(response) => response.into_inner(),
        Err(status) => {
            if let Some(why) = question.was_refused(&asked.trouble) {
                *known = Known { exit: NO_CONNECTION, why };
                return None;
            }
            let why = question.failed(&status);
            if !matches!(
                status.code(),
                Code::Unavailable | Code::ResourceExhausted | Code::Cancelled | Code::Unknown
            ) {
                note(why);
                return Some(NO_ANSWER);
            }
            *known = Known { exit: NO_ANSWER, why };
            return None;
        }
    };
    let mut last = None;
    loop {
        match stream.message().await {
            Ok(Some(HealthCheckResponse { status })) => {
                let wanted = flags.wait_for.is_some_and(|wanted| status == i32::from(wanted));
                if last != Some(status) && (flags.watch || wanted) {
                    note(format_args!("status: {}", name(status)));
                }
                if wanted {
                    return Some(Exit::Done);
                }
                last = Some(status);
                let why = format!("service unhealthy (responded with {:?})", name(status));
                *known = Known { exit: UNHEALTHY, why };
            }
            Ok(None) => return None,
            Err(status) => {
                *known = Known { exit: NO_ANSWER, why: question.failed(&status) };
                return None;
            }
        }
    }
}
