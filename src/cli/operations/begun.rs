//! What was begun just now: waited for, or left to itself.

use clap::Args;
use prost::Message;
use seaworthy_client::proto::seaworthy::v1::Operation;

use super::follow::{follow, outcome};
use crate::{
    cli::{
        Context,
        exit::Exit,
        failure::Failure,
        output::{clean, note},
        remote::Remote,
    },
    id::Entropy,
};

/// How something is begun that takes its time.
#[derive(Args, Clone, Debug)]
pub(crate) struct Begin {
    /// Print the id of the operation, and do not wait for its end
    #[arg(long)]
    detach: bool,
    /// Print lines, on a terminal too
    #[arg(long, conflicts_with = "detach")]
    lines: bool,
    /// Id of this attempt: a repeat with the same one begins nothing anew [default: a random one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl Begin {
    /// The id of this attempt. With one, asking again is safe.
    ///
    /// # Errors
    /// There is no randomness.
    pub(crate) fn request_id(&self) -> Result<String, Failure> {
        match &self.request_id {
            Some(given) => Ok(given.clone()),
            None => Entropy::system().secret().map_err(|cause| Failure::Internal(cause.to_string())),
        }
    }

    /// Follows what was begun to its end, or prints its id. `response` is what said that it has begun, and `name` its type.
    ///
    /// # Errors
    /// It cannot be followed any more; it goes on all the same.
    pub(crate) async fn see_through(
        &self,
        remote: &Remote,
        (name, response): (&str, &impl Message),
        operation: Option<&Operation>,
        context: &mut Context,
    ) -> Result<Exit, Failure> {
        let nothing = || Failure::Internal("the control plane began no operation".to_owned());
        let id = operation.map(|it| it.id.as_str()).filter(|id| !id.is_empty()).ok_or_else(nothing)?;
        if self.detach {
            if context.output.is_json() {
                context.document(name, response)?;
            } else {
                context.output.line(clean(id))?;
            }
            return Ok(Exit::Done);
        }
        match follow(remote, id, self.lines, context).await {
            Ok(ended) => Ok(outcome(&ended)),
            Err(failure) => {
                let id = clean(id);
                note(format_args!("operation {id} goes on; see: seaworthy operations {id} --watch"));
                Err(failure)
            }
        }
    }
}
