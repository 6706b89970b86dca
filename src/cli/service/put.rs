//! `seaworthy service put`.

use std::path::PathBuf;

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{PutServiceRequest, ServiceSpec};

use super::{
    change::Change,
    get::{get, show},
};
use crate::cli::{
    Context,
    exit::Exit,
    failure::Failure,
    file::{self, Wanted},
    remote::Remote,
};

/// What a file is to hold.
const SPEC: Wanted = Wanted { message: "ServiceSpec", noun: "specification of a service" };

const HELP: &str = concat!(
    "\
SERVICE is a DNS label: 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a
letter or digit.

With --file the file is the whole specification, and the other flags change it.
Without, they change the specification that counts now, and the result is the operator's;
if somebody else changes it at the same time, nothing is put.

A whole file in TOML:

",
    include_str!("../../../deploy/service.example.toml"),
    "
JSON has the same names:
{\"depends_on\": [{\"service\": \"payments\"}], \"budget\": {\"min_available\": {\"count\": 2}}}

What counts now, to begin with, stands below `spec` in: seaworthy service get SERVICE -o json"
);

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Put {
    /// Name of the service
    #[arg(value_name = "SERVICE")]
    name: String,
    /// The whole specification: a .json or .toml file, as below, or - for JSON from the standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Only if this is the revision of the operator's specification now; 0: only if there is none
    /// [default: any]
    #[arg(long, value_name = "REVISION")]
    if_revision: Option<u64>,
    #[command(flatten)]
    change: Change,
}

/// Runs it.
pub(crate) async fn run(flags: Put, context: &mut Context) -> Result<Exit, Failure> {
    let Put { name, file, if_revision, change } = flags;
    if file.is_none() && change.is_empty() {
        return Err(Failure::Usage(format!(
            "nothing to put for service {name}; hint: give --file FILE, or what to change, for example \
             --min-available 2"
        )));
    }
    let given = file.map(|path| file::read(&path, SPEC)).transpose()?;
    let remote = context.connect().await?;
    let (spec, revision) = match given {
        Some(spec) => (spec, if_revision),
        None => {
            let (spec, revision) = current(&remote, &name).await?;
            (spec, Some(if_revision.unwrap_or(revision)))
        }
    };
    let request =
        PutServiceRequest { name: name.clone(), spec: Some(change.apply(spec)), if_revision: revision };
    let mut fleet = remote.fleet();
    let put = remote
        .write(&format!("put service {name}"), async || fleet.put_service(request.clone()).await)
        .await?;
    show(&put.service.unwrap_or_default(), context)?;
    Ok(Exit::Done)
}

/// The specification that counts now, and the revision of the operator's: 0 where there is none.
async fn current(remote: &Remote, name: &str) -> Result<(ServiceSpec, u64), Failure> {
    match get(remote, name).await {
        Ok(service) => Ok((service.spec.unwrap_or_default(), service.spec_revision)),
        Err(failure) if failure.exit() == Exit::NotFound => Ok((ServiceSpec::default(), 0)),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::render::document::Contract;

    #[test]
    fn the_example_of_the_help_says_everything_that_can_be_said() {
        let example = include_str!("../../../deploy/service.example.toml");
        let spec: ServiceSpec = file::parse(example, Some("toml"), SPEC.message).unwrap();
        let document = Contract::load().unwrap().document(SPEC.message, &spec).unwrap();
        // JSON has every field that there is, said or not.
        let shown = serde_json::to_value(&document).unwrap();
        assert_eq!(left_unsaid(&shown), Vec::<String>::new());
    }

    fn left_unsaid(value: &Value) -> Vec<String> {
        match value {
            Value::Object(fields) => fields
                .iter()
                .flat_map(|(name, value)| {
                    left_unsaid(value).into_iter().map(move |below| format!("{name}.{below}"))
                })
                .collect(),
            Value::Array(items) if !items.is_empty() => items.iter().flat_map(left_unsaid).collect(),
            said if [json!(null), json!(false), json!(0), json!(0.0), json!(""), json!([])]
                .contains(said) =>
            {
                vec![said.to_string()]
            }
            _ => Vec::new(),
        }
    }
}
