//! Tokens and identities over the API: the part of `seaworthy.v1.SystemService` that says who may do what.

use std::{sync::Arc, time::Duration};

use super::{
    audited::{self, AuditedCall},
    convert::timestamp,
    page,
    parse::{self, Fields},
    proto::v1 as pb,
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::names::ServiceName,
    id::BearerToken,
    identity::{
        Grant, Identity, Principal, Role, Scope,
        authenticator::Authenticator,
        scope::{Narrowing, Pattern},
        tokens::{Handle, Listed, Power, Token, Wanted},
    },
};

/// How long a token counts of which nothing is said.
const LIFETIME: Duration = days(90);
/// Shortest and longest that may be asked for.
const LIFETIMES: (Duration, Duration) = (Duration::from_secs(60), days(3650));

const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 24 * 3600)
}

/// The adapter.
#[derive(Clone, Debug)]
pub struct TokensApi(Authenticator);

impl TokensApi {
    /// Serves the tokens that this knows.
    pub fn new(authenticator: Authenticator) -> Self {
        Self(authenticator)
    }

    /// Who the caller is.
    pub fn identity(identity: &Identity) -> pb::GetIdentityResponse {
        pb::GetIdentityResponse { identity: Some(shown(identity)) }
    }

    /// Makes a token, for whoever calls.
    ///
    /// # Errors
    /// A field is wrong, or it is refused.
    pub async fn create(
        &self,
        call: &AuditedCall,
        wire: pb::CreateTokenRequest,
    ) -> Result<pb::CreateTokenResponse> {
        let wanted = wanted(call.identity(), wire)?;
        let (tokens, object) = (self.tokens()?.clone(), audited::token(&wanted.name));
        let change = async move { tokens.create(wanted).await };
        let done = |(token, _): &(Arc<Token>, BearerToken)| format!("{} made, {}", token.id, token.power);
        let (token, secret) = call.change(object, change, done).await?;
        let token = listed(Listed { token, last_used: None });
        Ok(pb::CreateTokenResponse { token: Some(token), secret: secret.reveal().to_owned() })
    }

    /// Lists tokens.
    ///
    /// # Errors
    /// The page is wrong.
    pub fn list(&self, wire: pb::ListTokensRequest) -> Result<pb::ListTokensResponse> {
        let pb::ListTokensRequest { page_size, page_token, show_ended } = wire;
        let mut fields = Fields::default();
        let size = page::size(&mut fields, page_size);
        let after = page::after(&mut fields, &page_token);
        fields.check()?;
        let (found, more) = self.tokens()?.list(after.as_deref(), size, show_ended);
        let (tokens, cut) = page::fill(size, found.into_iter().map(listed));
        let last = tokens.last().filter(|_| more || cut);
        let next = last.map(|last| page::token(&format!("{}/{}", last.name, last.token_id)));
        Ok(pb::ListTokensResponse { tokens, next_page_token: next.unwrap_or_default() })
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// There is none, or the store cannot write.
    pub async fn revoke(
        &self,
        call: &AuditedCall,
        wire: pb::RevokeTokenRequest,
    ) -> Result<pb::RevokeTokenResponse> {
        let pb::RevokeTokenRequest { token_id, allow_missing } = wire;
        if token_id.is_empty() {
            return Err(Error::field("token_id", "is missing; give the id of a token, or its name"));
        }
        // What is said of it again would be in logs and in the audit.
        if BearerToken::hash_of(&token_id).is_some() || ServiceName::parse(&token_id).is_err() {
            return Err(Error::field(
                "token_id",
                "is neither an id nor a name; a token's secret is not asked for",
            ));
        }
        let (tokens, object) = (self.tokens()?.clone(), audited::token(&token_id));
        let change = async move { tokens.revoke(&token_id).await };
        match call.change(object, change, |token: &Arc<Token>| format!("{} revoked", token.id)).await {
            Ok(token) => {
                Ok(pb::RevokeTokenResponse { token: Some(listed(Listed { token, last_used: None })) })
            }
            Err(error) if allow_missing && error.kind() == Kind::NotFound => {
                Ok(pb::RevokeTokenResponse { token: None })
            }
            Err(error) => Err(error),
        }
    }

    fn tokens(&self) -> Result<&Handle> {
        let loading = || {
            let message = "the control plane has just started, and has not read its tokens yet; ask again";
            Error::new(Kind::Unavailable, Reason::Loading, message).retry_after(Duration::from_secs(1))
        };
        self.0.tokens().ok_or_else(loading)
    }
}

fn wanted(identity: &Identity, wire: pb::CreateTokenRequest) -> Result<Wanted> {
    let pb::CreateTokenRequest { name, role, service, lifetime } = wire;
    let mut fields = Fields::default();
    // The same rule as for a service: both become part of what people type.
    let name = fields.take("name", ServiceName::parse(&name)).map(|name| name.to_string());
    let power = power(&mut fields, role, &service);
    let lifetime = parse::bounded_duration(&mut fields, "lifetime", lifetime, LIFETIME, LIFETIMES);
    let (name, power) = fields.finish(name.zip(power))?;
    Ok(Wanted { name, power, lifetime, creator: identity.principal.to_string() })
}

fn power(fields: &mut Fields, role: i32, service: &str) -> Option<Power> {
    let role = match pb::Role::try_from(role) {
        Ok(pb::Role::Viewer) => Role::Viewer,
        Ok(pb::Role::Operator) => Role::Operator,
        Ok(pb::Role::Admin) => Role::Admin,
        Ok(pb::Role::Service) => {
            return parse::service_name(fields, "service", service).map(Power::Service);
        }
        Ok(pb::Role::Unspecified) | Err(_) => {
            fields.wrong("role", "is missing or unknown; use VIEWER, OPERATOR, ADMIN or SERVICE");
            return None;
        }
    };
    if !service.is_empty() {
        fields.wrong("service", "goes with the role SERVICE alone; a rule file narrows the others");
        return None;
    }
    Some(Power::Role(role))
}

fn role(role: Role) -> pb::Role {
    match role {
        Role::Viewer => pb::Role::Viewer,
        Role::Operator => pb::Role::Operator,
        Role::Admin => pb::Role::Admin,
    }
}

fn listed(value: Listed) -> pb::Token {
    let Listed { token, last_used } = value;
    let (wire_role, service) = match &token.power {
        Power::Role(own) => (role(*own), String::new()),
        Power::Service(service) => (pb::Role::Service, service.to_string()),
    };
    // What is left out is the hash of its secret.
    let Token { id, name, power: _, created, creator, expires, revoked, .. } = &*token;
    pb::Token {
        token_id: id.clone(),
        name: name.clone(),
        role: wire_role.into(),
        service,
        create_time: Some(timestamp(*created)),
        creator: creator.clone(),
        expire_time: Some(timestamp(*expires)),
        revoke_time: revoked.map(timestamp),
        last_use_time: last_used.map(timestamp),
    }
}

fn shown(identity: &Identity) -> pb::Identity {
    let Identity { principal, grant, expires } = identity;
    let method = match principal {
        Principal::Local => pb::AuthenticationMethod::Local,
        Principal::Nobody => pb::AuthenticationMethod::Unspecified,
        Principal::Certificate(_) => pb::AuthenticationMethod::Certificate,
        Principal::Token { .. } => pb::AuthenticationMethod::Token,
    };
    let (wire_role, service, narrowed) = match grant {
        Grant::Nothing | Grant::Everything => (pb::Role::Unspecified, String::new(), Vec::new()),
        Grant::Role(own, narrowed) => (role(*own), String::new(), scopes(narrowed)),
        Grant::Service(service) => (pb::Role::Service, service.to_string(), Vec::new()),
    };
    pb::Identity {
        name: principal.to_string(),
        method: method.into(),
        role: wire_role.into(),
        service,
        scopes: narrowed,
        expire_time: expires.map(timestamp),
    }
}

/// Each narrowing by itself: what several say holds together.
fn scopes(scope: &Scope) -> Vec<pb::Scope> {
    let words = |patterns: &[Pattern]| patterns.iter().map(ToString::to_string).collect();
    let wire = |narrowing: &Narrowing| {
        let Narrowing { services, zones, labels } = narrowing;
        let labels = labels.clone().into_iter().collect();
        pb::Scope { services: words(services), zones: words(zones), labels }
    };
    scope.narrowings().iter().map(wire).collect()
}
