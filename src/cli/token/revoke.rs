//! `seaworthy token revoke`.

use clap::Args;
use seaworthy_client::proto::seaworthy::v1::{RevokeTokenRequest, Token};

use super::list;
use crate::cli::{
    Context,
    confirm::confirm,
    exit::Exit,
    failure::Failure,
    output::clean,
    render::{identity, when},
};

/// Its flags.
#[derive(Args, Debug)]
pub(crate) struct Revoke {
    /// Its name, or its id: tok-0123456789abcdef
    #[arg(value_name = "NAME|ID")]
    token: String,
    /// The same again, instead of being asked for it; needed where there is no terminal
    #[arg(long, value_name = "NAME|ID")]
    yes: Option<String>,
}

/// Runs it.
pub(crate) async fn run(flags: Revoke, context: &mut Context) -> Result<Exit, Failure> {
    let Revoke { token: named, yes } = flags;
    let remote = context.connect().await?;
    let living = list::all(&remote, false).await?.tokens;
    let found = living.iter().find(|token| token.name == named || token.token_id == named);
    let mut request = RevokeTokenRequest { token_id: named.clone(), allow_missing: false };
    // Where it is not among them, the control plane says what there is instead.
    if let Some(found) = found {
        confirm(&named, yes.as_deref(), &loss(found, context))?;
        // What was shown is what is revoked, not one that has the name since.
        request.token_id.clone_from(&found.token_id);
    }
    let mut system = remote.system();
    let revoked = remote
        .write(&format!("revoke token {named}"), async || system.revoke_token(request.clone()).await)
        .await?;
    if context.output.is_json() {
        context.document("RevokeTokenResponse", &revoked)?;
    } else {
        context.output.line(format_args!("revoked {}", clean(&named)))?;
    }
    Ok(Exit::Done)
}

fn loss(token: &Token, context: &Context) -> String {
    let now = context.clock.now().wall;
    format!(
        "revoking token {} ({}, {}, last used {}) takes effect at once and cannot be taken back: whatever uses it is \
         refused, and what was opened with it ends",
        clean(&token.name),
        clean(&token.token_id),
        clean(&identity::may(token.role(), &token.service)),
        when::ago(token.last_use_time.as_ref(), now),
    )
}
