//! The rule file: which certificates have which role, and to what a role is narrowed.
//!
//! Pure: text in, rules out. Reading the file and reading it again is `watched`'s. A token has the role that it was made
//! with, so that rules narrow tokens and never raise them.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

use super::{
    Grant, Principal, Role, Scope,
    scope::{Narrowing, Pattern},
};
use crate::{
    error::{Error, Kind, Reason, Result},
    fleet::names::ServiceName,
    tls::peer::Name,
};

/// Most rules of a file.
const MOST: usize = 1000;
/// How the names of certificates and tokens begin.
const KINDS: [&str; 3] = ["spiffe://", "dns:", "token:"];

/// What the rule file says. The default says nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rules {
    grants: Vec<(Pattern, Grant)>,
    narrowings: Vec<(Whom, Narrowing)>,
}

/// Who is narrowed: whoever fits all that is said.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Whom {
    who: Option<Pattern>,
    role: Option<Role>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    grant: Vec<GrantRule>,
    #[serde(default)]
    narrow: Vec<NarrowRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantRule {
    who: String,
    role: Option<String>,
    service: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NarrowRule {
    who: Option<String>,
    role: Option<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    zones: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Rules {
    /// Reads rules.
    ///
    /// # Errors
    /// [`Reason::RulesInvalid`]: it is not TOML of this form, has no rule, or a rule says nothing or what cannot be.
    pub fn parse(text: &str) -> Result<Self> {
        let File { grant, narrow } = toml::from_str(text).map_err(|wrong| invalid(in_line(text, &wrong)))?;
        // A file that is being written is empty first, and would narrow nobody.
        if grant.is_empty() && narrow.is_empty() {
            return Err(invalid("it has no rule; where none are wanted, name no file"));
        }
        if grant.len() + narrow.len() > MOST {
            return Err(invalid(format!("it has more than {MOST} rules")));
        }
        let grants = numbered("grant", grant, |rule| {
            Ok((certificate(&rule.who)?, granted(rule.role.as_deref(), rule.service.as_deref())?))
        });
        let narrowings = numbered("narrow", narrow, narrowing);
        Ok(Self { grants: grants?, narrowings: narrowings? })
    }

    /// What the holder of a certificate may do: what the first rule that means it says, else what its SPIFFE id says
    /// by itself, if that is in the trust domain (empty: none is).
    pub fn of_certificate(&self, name: &Name, trust_domain: &str) -> Grant {
        let text = name.to_string();
        let by_rule = self.grants.iter().find(|(who, _)| who.matches(&text)).map(|(_, grant)| grant.clone());
        by_rule.or_else(|| of_id(name, trust_domain)).unwrap_or(Grant::Nothing)
    }

    /// The grant, narrowed by every rule that means this principal.
    pub fn narrowed(&self, principal: &Principal, grant: Grant) -> Grant {
        let Grant::Role(role, scope) = grant else { return grant };
        let name = principal.to_string();
        let meant = |whom: &Whom| {
            whom.who.as_ref().is_none_or(|who| who.matches(&name)) && whom.role.is_none_or(|one| one == role)
        };
        let narrowings = self.narrowings.iter().filter(|(whom, _)| meant(whom)).map(|(_, by)| by.clone());
        Grant::Role(role, narrowings.fold(scope, Scope::narrowed))
    }
}

/// `spiffe://DOMAIN/service/NAME` and `spiffe://DOMAIN/role/ROLE/NAME` mean what they say.
fn of_id(name: &Name, trust_domain: &str) -> Option<Grant> {
    let Name::Spiffe(id) = name else { return None };
    let (domain, path) = id.strip_prefix("spiffe://")?.split_once('/')?;
    if trust_domain.is_empty() || domain != trust_domain {
        return None;
    }
    let mut parts = path.split('/');
    match (parts.next()?, parts.next()?, parts.next(), parts.next()) {
        ("service", service, None, None) => ServiceName::parse(service).ok().map(Grant::Service),
        ("role", role, Some(who), None) if !who.is_empty() => {
            Role::parse(role).map(|role| Grant::Role(role, Scope::default()))
        }
        _ => None,
    }
}

/// Takes every rule, or names the first that is wrong by its kind and its number from 1.
fn numbered<R, T>(kind: &str, rules: Vec<R>, take: impl Fn(R) -> Result<T, String>) -> Result<Vec<T>> {
    let named = |at: usize, wrong: String| invalid(format!("{kind} number {}: {wrong}", at + 1));
    let rules = rules.into_iter().enumerate();
    rules.map(|(at, rule)| take(rule).map_err(|wrong| named(at, wrong))).collect()
}

fn certificate(who: &str) -> Result<Pattern, String> {
    if who.starts_with("token:") {
        return Err(
            "who: a token has the role that it was made with; name a certificate, by spiffe:// or dns:"
                .into(),
        );
    }
    principal(who)
}

fn principal(who: &str) -> Result<Pattern, String> {
    let named = KINDS.iter().find_map(|kind| Some((*kind, who.strip_prefix(kind)?)));
    match named {
        Some((_, rest)) if rest.is_empty() || rest.strip_suffix('*').unwrap_or(rest).contains('*') => {
            Err(format!("who: {who:?} names nobody; only its end may be `*`, once"))
        }
        // What could match nobody would narrow nobody. Of a SPIFFE id the path may have capitals.
        Some((kind, rest)) if lower_case(kind, rest).chars().any(char::is_uppercase) => {
            Err(format!("who: {who:?} names nobody; such names are in lower case"))
        }
        Some(_) => Ok(Pattern::parse(who)),
        None => Err(format!("who: {who:?} begins neither with spiffe://, dns: nor token:")),
    }
}

/// The part of a name that is always in lower case.
fn lower_case<'a>(kind: &str, rest: &'a str) -> &'a str {
    if kind == "spiffe://" { rest.split('/').next().unwrap_or(rest) } else { rest }
}

fn granted(role: Option<&str>, service: Option<&str>) -> Result<Grant, String> {
    match (role, service) {
        (Some("service"), Some(service)) | (None, Some(service)) => {
            ServiceName::parse(service).map(Grant::Service).map_err(|wrong| format!("service: {wrong}"))
        }
        (Some(word), None) => Ok(Grant::Role(role_of(word)?, Scope::default())),
        (Some(_), Some(_)) => Err("service: goes with the role service alone".into()),
        (None, None) => Err("it grants nothing; give role, or service".into()),
    }
}

fn role_of(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| format!("role: {word:?} is none of viewer, operator and admin"))
}

fn narrowing(rule: NarrowRule) -> Result<(Whom, Narrowing), String> {
    let NarrowRule { who, role, services, zones, labels } = rule;
    let whom = Whom {
        who: who.map(|who| principal(&who)).transpose()?,
        role: role.map(|role| role_of(&role)).transpose()?,
    };
    if whom.who.is_none() && whom.role.is_none() {
        return Err("it narrows nobody; give who, role, or both".into());
    }
    let by =
        Narrowing { services: patterns("services", &services)?, zones: patterns("zones", &zones)?, labels };
    if by == Narrowing::default() {
        return Err("it narrows to nothing; give services, zones or labels".into());
    }
    Ok((whom, by))
}

fn patterns(field: &str, texts: &[String]) -> Result<Vec<Pattern>, String> {
    let pattern = |text: &String| {
        let name = text.strip_suffix('*').unwrap_or(text);
        if name.contains('*') || text.is_empty() {
            return Err(format!("{field}: {text:?} is no name; only its end may be `*`"));
        }
        Ok(Pattern::parse(text))
    };
    texts.iter().map(pattern).collect()
}

/// What is wrong and where, without the line itself, which names people.
fn in_line(text: &str, wrong: &toml::de::Error) -> String {
    let line = wrong
        .span()
        .map_or(1, |span| text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1);
    format!("line {line}: {}", wrong.message().replace('\n', ", "))
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::new(Kind::InvalidArgument, Reason::RulesInvalid, format!("the rules are wrong: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
        [[grant]]
        who = "spiffe://example.org/team/payments/*"
        role = "operator"

        [[grant]]
        who = "dns:orders.internal"
        service = "orders"

        [[narrow]]
        who = "spiffe://example.org/team/payments/*"
        services = ["payments", "payments-*"]

        [[narrow]]
        role = "viewer"
        zones = ["eu-*"]
        labels = { tier = "1" }
    "#;

    fn of(name: &Name) -> Grant {
        Rules::parse(RULES).unwrap().of_certificate(name, "seaworthy.local")
    }

    #[test]
    fn certificates_as_a_table() {
        let spiffe = |id: &str| Name::Spiffe(format!("spiffe://{id}"));
        let role = |role| Grant::Role(role, Scope::default());
        let service = |name| Grant::Service(ServiceName::parse(name).unwrap());
        for (name, grant) in [
            (spiffe("example.org/team/payments/ci"), role(Role::Operator)),
            (spiffe("example.org/team/orders/ci"), Grant::Nothing),
            (Name::Dns("orders.internal".into()), service("orders")),
            (Name::Dns("orders.internal.evil".into()), Grant::Nothing),
            (spiffe("seaworthy.local/service/orders"), service("orders")),
            (spiffe("seaworthy.local/service/orders/x"), Grant::Nothing),
            (spiffe("seaworthy.local/service/Orders"), Grant::Nothing),
            (spiffe("seaworthy.local/role/admin/alice"), role(Role::Admin)),
            (spiffe("seaworthy.local/role/admin"), Grant::Nothing),
            (spiffe("seaworthy.local/role/admin/"), Grant::Nothing),
            (spiffe("seaworthy.local/role/owner/alice"), Grant::Nothing),
            (spiffe("seaworthy.local.evil/role/admin/alice"), Grant::Nothing),
            (spiffe("evil/seaworthy.local/role/admin/alice"), Grant::Nothing),
            (Name::Dns("spiffe://seaworthy.local/role/admin/alice".into()), Grant::Nothing),
        ] {
            assert_eq!(of(&name), grant, "{name}");
        }
        let ours = spiffe("seaworthy.local/service/orders");
        assert_eq!(Rules::default().of_certificate(&ours, ""), Grant::Nothing, "no trust domain");
        assert_eq!(Rules::default().of_certificate(&spiffe("/service/orders"), ""), Grant::Nothing);
    }

    #[test]
    fn every_rule_that_means_somebody_narrows() {
        let rules = Rules::parse(RULES).unwrap();
        let narrowed = |principal: &Principal, role| match rules
            .narrowed(principal, Grant::Role(role, Scope::default()))
        {
            Grant::Role(_, scope) => scope.narrowings().len(),
            other => panic!("{other:?}"),
        };
        let payments = Principal::Certificate(Name::Spiffe("spiffe://example.org/team/payments/ci".into()));
        let alice = Principal::Token { id: "tok-1".into(), name: "alice".into() };
        assert_eq!(narrowed(&payments, Role::Operator), 1);
        assert_eq!(narrowed(&payments, Role::Viewer), 2);
        assert_eq!(narrowed(&alice, Role::Viewer), 1);
        assert_eq!(narrowed(&alice, Role::Admin), 0);
        let orders = Grant::Service(ServiceName::parse("orders").unwrap());
        assert_eq!(rules.narrowed(&alice, orders.clone()), orders);
    }

    #[test]
    fn what_cannot_be_is_refused_and_named() {
        for (text, wrong) in [
            (
                "[[grant]]\nwho = \"token:alice\"\nrole = \"admin\"",
                "grant number 1: who: a token has the role",
            ),
            ("[[grant]]\nwho = \"alice\"\nrole = \"admin\"", "begins neither with"),
            ("[[grant]]\nwho = \"dns:\"\nrole = \"admin\"", "names nobody"),
            ("[[grant]]\nwho = \"dns:a*b\"\nrole = \"admin\"", "only its end may be"),
            ("[[narrow]]\nwho = \"token:ci-**\"\nzones = [\"a\"]", "only its end may be"),
            ("[[narrow]]\nwho = \"token:Alice\"\nzones = [\"a\"]", "in lower case"),
            ("[[narrow]]\nwho = \"spiffe://Prod/a\"\nzones = [\"a\"]", "in lower case"),
            ("", "it has no rule"),
            ("# nothing yet\n", "it has no rule"),
            ("[[grant]]\nwho = \"dns:a\"\nrole = \"root\"", "none of viewer"),
            ("[[grant]]\nwho = \"dns:a\"", "it grants nothing"),
            ("[[grant]]\nwho = \"dns:a\"\nrole = \"viewer\"\nservice = \"a\"", "goes with the role service"),
            ("[[grant]]\nwho = \"dns:a\"\nservice = \"A\"", "service: "),
            ("[[narrow]]\nservices = [\"a\"]", "narrow number 1: it narrows nobody"),
            ("[[narrow]]\nrole = \"viewer\"", "it narrows to nothing"),
            ("[[narrow]]\nrole = \"viewer\"\nzones = [\"\"]", "zones: \"\" is no name"),
            ("[[narrow]]\nrole = \"viewer\"\nzone = \"a\"", "unknown field"),
            ("[[grant]", "line 1"),
        ] {
            let error = Rules::parse(text).unwrap_err();
            assert_eq!(error.reason(), Reason::RulesInvalid);
            assert!(error.message().contains(wrong), "{text:?}: {error}");
        }
        let capital = "[[narrow]]\nwho = \"spiffe://prod/Team/*\"\nzones = [\"a\"]";
        assert!(Rules::parse(capital).is_ok());
    }
}
