//! `seaworthy token create`.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{
    CreateTokenRequest, CreateTokenResponse, RevokeTokenRequest, Role, Token,
};

use crate::cli::{
    Context,
    args::value,
    exit::Exit,
    failure::Failure,
    output::{clean, note},
    private::{self, Existing, Readers},
    remote::Remote,
    render::{identity, when},
};

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
The standard output has the secret and nothing else; everything about it goes to the standard error:

  seaworthy token create orders --role service --service orders > token
  seaworthy token create ci --role operator --lifetime 12h --out ci.token")]
pub(crate) struct Create {
    /// Its name, by which audit and log call its bearer: lower-case letters, digits and hyphens
    #[arg(value_name = "NAME")]
    name: String,
    /// What its bearer may do: viewer reads, operator changes the fleet, admin makes tokens, service registers
    /// instances of one service
    #[arg(long, value_name = "ROLE", value_parser = value::role())]
    role: Role,
    /// The service that it is bound to, with the role `service`
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// How long it counts, with its unit: 12h, 30d [default: 90d]
    #[arg(long, value_name = "TIME", value_parser = value::lifetime)]
    lifetime: Option<Duration>,
    /// File to write the secret to, readable by its owner alone, instead of the standard output; one that is there stays
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs it.
pub(crate) async fn run(flags: Create, context: &mut Context) -> Result<Exit, Failure> {
    let Create { name, role, service, lifetime, out } = flags;
    if (role == Role::Service) != service.is_some() {
        return Err(Failure::Usage(
            "--service goes with --role service, and has to be given there".to_owned(),
        ));
    }
    // Before a token is made whose secret nobody could keep.
    if let Some(file) = &out {
        keep(file, "", Existing::Stays)?;
    }
    let created = create(&name, role, service, lifetime, context).await;
    if let (Err(_), Some(file)) = (&created, &out) {
        // It is ours, and empty.
        std::fs::remove_file(file).ok();
    }
    let (remote, mut created) = created?;
    let token = created.token.clone().unwrap_or_default();
    if let Some(file) = &out
        && let Err(failure) = keep(file, &created.secret, Existing::IsReplaced)
    {
        std::fs::remove_file(file).ok();
        return Err(lost(&failure, &token, &remote).await);
    }
    note(format_args!(
        "made token {} ({}, {}), which counts until {}; its secret is not shown again",
        clean(&token.name),
        clean(&token.token_id),
        clean(&identity::may(token.role(), &token.service)),
        when::stamp(token.expire_time.as_ref()),
    ));
    if let Some(file) = &out {
        note(format_args!("wrote it to {}", file.display()));
        created.secret.clear();
    }
    if context.output.is_json() {
        context.document("CreateTokenResponse", &created)?;
    } else if out.is_none() {
        context.output.line(clean(&created.secret))?;
    }
    Ok(Exit::Done)
}

async fn create(
    name: &str,
    role: Role,
    service: Option<String>,
    lifetime: Option<Duration>,
    context: &Context,
) -> Result<(Remote, CreateTokenResponse), Failure> {
    let request = CreateTokenRequest {
        name: name.to_owned(),
        role: role.into(),
        service: service.unwrap_or_default(),
        lifetime: lifetime.and_then(|lifetime| lifetime.try_into().ok()),
    };
    let remote = context.connect().await?;
    let mut system = remote.system();
    let created = remote
        .write(&format!("make token {name}"), async || system.create_token(request.clone()).await)
        .await?;
    Ok((remote, created))
}

/// Takes back a token whose secret nobody has, as far as that can be done. What to tell then.
async fn lost(failure: &Failure, token: &Token, remote: &Remote) -> Failure {
    let (name, id) = (clean(&token.name), clean(&token.token_id));
    let request = RevokeTokenRequest { token_id: token.token_id.clone(), allow_missing: true };
    let mut system = remote.system();
    let became = match remote
        .write(&format!("revoke token {name}"), async || system.revoke_token(request.clone()).await)
        .await
    {
        Ok(_) => format!("token {name} ({id}), which nobody has the secret of, was revoked"),
        Err(why) => format!(
            "token {name} ({id}), which nobody has the secret of, counts and could not be revoked ({why}); run: \
             seaworthy token revoke {id}"
        ),
    };
    Failure::Usage(format!("{failure}; {became}"))
}

fn keep(file: &Path, secret: &str, existing: Existing) -> Result<(), Failure> {
    let text = if secret.is_empty() { String::new() } else { format!("{secret}\n") };
    private::write(file, text.as_bytes(), Readers::Owner, existing).map_err(|cause| {
        let shown = file.display();
        Failure::Usage(match cause.kind() {
            io::ErrorKind::AlreadyExists => {
                format!("{shown} is there already, and is not overwritten; name another file with --out")
            }
            _ => format!("cannot write {shown}: {cause}"),
        })
    })
}
