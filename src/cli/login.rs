//! `seaworthy login`: finds out that a control plane knows the caller, and keeps how in a context.

use std::path::Path;

use clap::Args;
use seaworthy_client::{
    proto::seaworthy::v1::{GetIdentityRequest, GetIdentityResponse},
    transport::Secret,
};
use tonic::Code;

use super::{
    Context,
    access::{self, Access, Environment},
    contexts::{self, Contexts, Stored},
    exit::Exit,
    failure::Failure,
    follow::until_interrupted,
    output::note,
    prompt,
    remote::Remote,
    render::identity,
};

/// What a context is called where nobody has a name for it.
const UNNAMED: &str = "default";

/// Its flags.
#[derive(Args, Debug)]
#[command(after_help = "\
Takes --server, --ca-cert, --server-name, --client-cert and --client-key, and what is missing from the context of
that name. A token is read from --token-file, from the standard input with --token-file -, or from SEAWORTHY_TOKEN;
else it is asked for where the control plane wants one. It is stored with the context, in a file of mode 0600.

  seaworthy login prod --server https://seaworthy.example.org:50051 --ca-cert ca.pem
  pass show seaworthy | seaworthy login prod --token-file -")]
pub(crate) struct Login {
    /// Name of the context, which becomes the current one [default: that of --context, else the current one, else
    /// `default`]
    #[arg(value_name = "CONTEXT", value_parser = contexts::name)]
    name: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Login, context: &mut Context) -> Result<Exit, Failure> {
    let place = context.flags.place()?;
    let contexts = contexts::read(&place)?;
    let name = flags.name.or_else(|| context.flags.context.clone()).or_else(|| contexts.current.clone());
    let name = name.unwrap_or_else(|| UNNAMED.to_owned());
    let access = destination(&context.flags, &contexts, &name)?;
    let given = given(&context.flags).await?;
    let (identity, token) = prove(access.clone(), given, context).await?;
    keep(&place, &name, Stored { token, ..access.stored() })?;
    if context.output.is_json() {
        context.document("GetIdentityResponse", &identity)?;
        return Ok(Exit::Done);
    }
    let who = identity::in_words(&identity.identity.unwrap_or_default());
    context.output.line(format_args!("logged in to {} as {who}", access.server))?;
    note(format_args!("context {name} is the current one, in {}", place.display()));
    Ok(Exit::Done)
}

/// Stores it. Asking took its time: what was kept or forgotten meanwhile stays so.
fn keep(place: &Path, name: &str, stored: Stored) -> Result<(), Failure> {
    let mut contexts = contexts::read(place)?;
    contexts.stored.insert(name.to_owned(), stored);
    contexts.current = Some(name.to_owned());
    contexts::write(place, &contexts)
}

/// The control plane that is meant: what the flags say, and for the rest the context of that name.
fn destination(flags: &access::Flags, contexts: &Contexts, name: &str) -> Result<Access, Failure> {
    let known = contexts.stored.contains_key(name);
    let chosen = Contexts { current: known.then(|| name.to_owned()), stored: contexts.stored.clone() };
    // A token of before is not what logging in is for.
    let flags = access::Flags { context: None, token_file: None, ..flags.clone() };
    Ok(access::choose(&flags, &Environment::default(), &chosen)?.with_token(None))
}

/// The token that was given, if one was.
async fn given(flags: &access::Flags) -> Result<Option<Secret>, Failure> {
    if flags.token_file.as_deref() == Some(Path::new("-")) {
        return prompt::secret("token").await.map(Some);
    }
    let Some(token) = flags.token(&Environment::of_process()) else { return Ok(None) };
    token.read().map(Some).map_err(|problem| Failure::Usage(format!("the token {problem}")))
}

/// Asks the control plane who this is. Where it wants a token and none was given, a person is asked for one.
async fn prove(
    access: Access,
    given: Option<Secret>,
    context: &Context,
) -> Result<(GetIdentityResponse, Option<Secret>), Failure> {
    if given.is_some() {
        let identity = ask(&access.with_token(given.as_ref()), context).await?;
        return Ok((identity, given));
    }
    match ask(&access, context).await {
        Err(Failure::Refused { status, .. }) if status.code() == Code::Unauthenticated => {
            if !prompt::is_somebody_there() {
                return Err(Failure::Usage(format!(
                    "{} wants a token; hint: give it by --token-file FILE, or - for the standard input",
                    access.server
                )));
            }
        }
        answered => return answered.map(|identity| (identity, None)),
    }
    let token = prompt::secret(&format!("token for {}", access.server)).await?;
    // Signals are heard from here on, and have to be heeded.
    let identity = until_interrupted(ask(&access.with_token(Some(&token)), context)).await?;
    Ok((identity, Some(token)))
}

async fn ask(access: &Access, context: &Context) -> Result<GetIdentityResponse, Failure> {
    let remote = Remote::connect(access, context.timeout).await?;
    let mut system = remote.system();
    remote.read("log in", async || system.get_identity(GetIdentityRequest {}).await).await
}
