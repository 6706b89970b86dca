//! `seaworthy policy put`.

use std::path::{Path, PathBuf};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{Policy, PutPolicyRequest};

use super::{get::show, short::Short};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    file::{self, Wanted},
    remote::Remote,
};

/// What a file is to hold.
const POLICY: Wanted = Wanted { message: "Policy", noun: "policy" };

const HELP: &str = concat!(
    "\
Without flags of a policy the argument is a file with the whole policy; with them it is the name, and the flags are the whole
policy. Either way it takes the place of the one of its name, of which nothing stays:

  seaworthy policy put charges --service orders --operation charge-card --limit 100/s --burst 20
  seaworthy policy put lists --rpc seaworthy.v1.FleetService/ListInstances --limit 5/s --scope caller --shadow

A whole file in TOML:

",
    include_str!("../../../deploy/policy.example.toml"),
    "
JSON has the same names:
{\"name\": \"charges\", \"limits\": [{\"scope\": \"POLICY_SCOPE_OPERATION\", \"amount\": 100}]}

What counts now, to begin with: seaworthy policy get NAME -o json"
);

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Put {
    /// The whole policy: a .json or .toml file, as below, or - for JSON from the standard input; with flags its name
    #[arg(value_name = "FILE|NAME")]
    what: PathBuf,
    /// Only if this is the revision of the policy that was put; 0: only if none was [default: any]
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    short: Short,
}

/// Runs it.
pub(crate) async fn run(flags: Put, context: &mut Context) -> Result<Exit, Failure> {
    let Put { what, if_revision, short } = flags;
    let policy = if short.is_empty() { read(&what)? } else { short.policy(&what.to_string_lossy())? };
    let remote = context.connect().await?;
    show(&put(&remote, policy, if_revision).await?, context)?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Policy, Failure> {
    file::read(path, POLICY).map_err(|failure| match failure {
        // It may be meant as a name.
        Failure::Usage(problem) if path != Path::new("-") && !path.exists() => Failure::Usage(format!(
            "{problem}; hint: a policy of that name is put by flags, for example --service orders --limit 100/s"
        )),
        failure => failure,
    })
}

/// Puts a policy, and answers it as it counts.
pub(super) async fn put(
    remote: &Remote,
    policy: Policy,
    if_revision: Option<u64>,
) -> Result<Policy, Failure> {
    let action = format!("put policy {}", policy.name);
    let request = PutPolicyRequest { policy: Some(policy), if_revision };
    let mut client = remote.policy();
    let put = remote.write(&action, async || client.put_policy(request.clone()).await).await?;
    Ok(put.policy.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
    use seaworthy_client::{
        protect::{Operations, wire},
        proto::seaworthy::v1::{OperationTarget, PolicyOrigin, PolicyTarget, RpcTarget, policy_target::What},
    };

    use super::*;
    use crate::{
        api::proto::DESCRIPTORS,
        cli::render::{document::Contract, policy::parts},
    };

    const EXAMPLE: &str = include_str!("../../../deploy/policy.example.toml");

    fn example() -> Policy {
        file::parse(EXAMPLE, Some("toml"), POLICY.message).unwrap()
    }

    #[test]
    fn the_example_of_the_help_is_a_policy() {
        let parts: Vec<_> = parts(&example()).into_iter().map(|(part, _)| part).collect();
        assert_eq!(
            parts,
            [
                "limits OPERATION",
                "limits CALLER",
                "resources",
                "permits OPERATION",
                "pool database",
                "breaker",
                "retry"
            ]
        );
    }

    #[tokio::test]
    async fn the_example_makes_the_pool_that_it_names() {
        let orders = Operations::new("orders");
        orders.set_policy(wire::policy("policy", example()).unwrap()).unwrap();
        let _held = orders.acquire("database").await.unwrap();
        let pool = orders.report().pools.remove(0);
        assert_eq!((pool.name.as_str(), pool.size, pool.in_use), ("database", 20, 1));
    }

    #[test]
    fn the_example_names_everything_that_can_be_said() {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        let words: Vec<_> = EXAMPLE.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let unsaid: Vec<_> = fields(&pool.get_message_by_name("seaworthy.v1.Policy").unwrap())
            .into_iter()
            .filter(|name| !words.contains(&name.as_str()))
            .collect();
        assert_eq!(
            unsaid,
            ["origin", "revision", "update_time", "updater"],
            "only what the control plane sets"
        );
    }

    fn fields(message: &MessageDescriptor) -> Vec<String> {
        let mut names = Vec::new();
        for field in message.fields() {
            names.push(field.name().to_owned());
            if let Kind::Message(below) = field.kind()
                && below.package_name() == "seaworthy.v1"
            {
                names.extend(fields(&below));
            }
        }
        names
    }

    /// What `get -o json` prints can be put.
    #[test]
    fn what_is_shown_as_json_can_be_read_again() {
        let rpcs = What::Rpcs(RpcTarget { method: "seaworthy.v1.FleetService/ListInstances".into() });
        let operations = What::Operations(OperationTarget::default());
        for what in [None, Some(rpcs), Some(operations)] {
            let policy = Policy {
                target: what.map(|what| PolicyTarget { what: Some(what) }),
                origin: PolicyOrigin::Put.into(),
                revision: 7,
                update_time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5 }),
                updater: "token:alice".into(),
                ..example()
            };
            let document = Contract::load().unwrap().document(POLICY.message, &policy).unwrap();
            let json = serde_json::to_string(&document).unwrap();
            assert_eq!(file::parse(&json, Some("json"), POLICY.message), Ok(policy), "{json}");
        }
        let empty = Policy { name: "empty".into(), ..Policy::default() };
        let document = Contract::load().unwrap().document(POLICY.message, &empty).unwrap();
        let json = serde_json::to_string(&document).unwrap();
        assert_eq!(file::parse(&json, Some("json"), POLICY.message), Ok(empty), "{json}");
    }

    #[test]
    fn a_name_without_flags_is_told_what_is_lacking() {
        let refused = read(Path::new("/nowhere/charges")).unwrap_err().to_string();
        assert!(refused.starts_with("cannot read /nowhere/charges: "), "{refused}");
        assert!(refused.contains("by flags"), "{refused}");
    }
}
