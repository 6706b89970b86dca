//! `seaworthy policy import`: a configuration file of envoyproxy/ratelimit, as policies.
//!
//! All of it can be said as policies, or nothing is put: what cannot is told with its place in the file, everything at once.

mod name;
mod ratelimit;
mod translate;

use std::path::{Path, PathBuf};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{ListPoliciesResponse, Policy};

use self::translate::{Problem, Translation, Vocabulary, translate};
use super::{list::show, put::put};
use crate::{
    cli::{Context, exit::Exit, failure::Failure, file, output::note},
    text::counted,
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Each descriptor with a rate_limit becomes a policy of the service:

  domain: edge
  descriptors:
    - key: operation              # the value of this key is the operation; without a value: each one by itself
      value: charge-card
      rate_limit:
        unit: second              # or minute, hour, day
        requests_per_unit: 100    # unlimited: true is the highest limit there is
        algorithm: token-bucket   # ours; or leaky-bucket, sliding-window, fixed-window [default: fixed-window]
      descriptors:
        - key: caller             # the value of this key is the caller; without a value: each one by itself
          shadow_mode: true       # counts, and refuses nothing
          rate_limit: {unit: minute, requests_per_unit: 600}

A policy is named after the domain and the path of its descriptor (edge-operation-charge-card-caller), and takes the place of
the one of that name: the same file can be imported again. What no policy can say is refused: other keys, month, year
and week, replaces, quota_mode, and wildcards. Where Envoy sends several descriptors of one request all of them count;
here the most specific policy of each scope does: see `seaworthy policy explain`.")]
pub(crate) struct Import {
    /// The configuration in YAML; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Service that it limits
    #[arg(long, value_name = "SERVICE")]
    service: String,
    /// Key of descriptors whose value is the operation
    #[arg(long, value_name = "KEY", default_value = "operation")]
    operation_key: String,
    /// Key of descriptors whose value is the caller
    #[arg(long, value_name = "KEY", default_value = "caller")]
    caller_key: String,
    /// Print the policies, and put nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub(crate) async fn run(flags: Import, context: &mut Context) -> Result<Exit, Failure> {
    let Import { file: path, service, operation_key, caller_key, dry_run } = flags;
    if operation_key == caller_key {
        return Err(Failure::Usage(format!(
            "--operation-key and --caller-key are both {operation_key}; a key is the one or the other"
        )));
    }
    let vocabulary = Vocabulary { service, operation_key, caller_key };
    let Translation { policies, left_out } = read(&path, &vocabulary)?;
    left_out.iter().for_each(|what| note(format_args!("left out: {what}")));
    let policies = if dry_run { policies } else { put_all(policies, context).await? };
    show(&ListPoliciesResponse { policies, ..ListPoliciesResponse::default() }, context)?;
    Ok(Exit::Done)
}

fn read(path: &Path, vocabulary: &Vocabulary) -> Result<Translation, Failure> {
    let text = file::text(path)?;
    let wrong = |cause: String| {
        Failure::Usage(format!("{} is no configuration of envoyproxy/ratelimit: {cause}", path.display()))
    };
    let configuration = ratelimit::parse(&text).map_err(wrong)?;
    translate(configuration, vocabulary).map_err(|problems| refusal(path, &problems))
}

fn refusal(path: &Path, problems: &[Problem]) -> Failure {
    let each: Vec<_> = problems.iter().map(|problem| format!("\n  {problem}")).collect();
    Failure::Usage(format!("{} cannot be said as policies; nothing was put{}", path.display(), each.concat()))
}

/// Puts one after the other, and answers them as they count.
async fn put_all(policies: Vec<Policy>, context: &Context) -> Result<Vec<Policy>, Failure> {
    let remote = context.connect().await?;
    let all = policies.len();
    let mut done = Vec::with_capacity(all);
    for policy in policies {
        match put(&remote, policy, None).await {
            Ok(policy) => done.push(policy),
            Err(failure) => {
                if !done.is_empty() {
                    let put = counted(done.len() as u64, "policy");
                    note(format_args!(
                        "{put} of {all} were put before; import the file again to put all of them"
                    ));
                }
                return Err(failure);
            }
        }
    }
    Ok(done)
}
