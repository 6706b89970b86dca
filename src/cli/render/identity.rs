//! Who somebody is to a control plane, and tokens; never a secret.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use seaworthy_client::proto::seaworthy::v1::{AuthenticationMethod, Identity, Role, Scope, Token};

use super::{instance::dash, when, words};
use crate::cli::output::{Text, Tone, table::Table};

/// Less than this is soon over.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// A caller in a few words: `token:alice (admin), until 2026-03-01T00:00:00Z`.
pub(crate) fn in_words(who: &Identity) -> String {
    let until = match &who.expire_time {
        Some(time) => format!(", until {}", when::stamp(Some(time))),
        None => String::new(),
    };
    format!("{} ({}){until}", who.name, may(who.role(), &who.service))
}

/// What is known of a caller, as names and values.
pub(crate) fn facts(who: &Identity, server: &str, context: &str, now: SystemTime) -> Table {
    let mut table = Table::new([]);
    let mut fact = |name: &str, value: Text| table.row([name.into(), value]);
    fact("who", who.name.as_str().into());
    fact("proved by", method(who.method()).into());
    fact("may", may(who.role(), &who.service).into());
    fact("narrowed to", scopes(&who.scopes).into());
    fact("expires", expiry(who.expire_time.as_ref(), now));
    fact("server", server.into());
    fact("context", dash(context).into());
    table
}

/// Tokens as a table. `ended` has a column for how each stands.
pub(crate) fn tokens(tokens: &[Token], wide: bool, ended: bool, now: SystemTime) -> Table {
    let mut heading = vec!["TOKEN", "ROLE", "SERVICE", "EXPIRES", "LAST USED"];
    if ended {
        heading.push("STATE");
    }
    if wide {
        heading.extend(["ID", "MADE", "BY"]);
    }
    let mut table = Table::new(heading);
    for token in tokens {
        let mut row: Vec<Text> = vec![
            token.name.as_str().into(),
            words::role(token.role()).into(),
            dash(&token.service).into(),
            expiry(token.expire_time.as_ref(), now),
            when::ago(token.last_use_time.as_ref(), now).into(),
        ];
        if ended {
            row.push(state(token, now));
        }
        if wide {
            row.push(token.token_id.as_str().into());
            row.push(when::ago(token.create_time.as_ref(), now).into());
            row.push(dash(&token.creator).into());
        }
        table.row(row);
    }
    table
}

/// Whether a token counts.
pub(crate) fn counts(token: &Token, now: SystemTime) -> bool {
    token.revoke_time.is_none() && left(token.expire_time.as_ref(), now).is_none_or(|left| !left.is_zero())
}

/// What a role may, in words: `service orders`, `admin`, `everything`.
pub(crate) fn may(role: Role, service: &str) -> String {
    match role {
        Role::Unspecified => "everything".to_owned(),
        Role::Service => format!("service {service}"),
        role => words::role(role),
    }
}

fn state(token: &Token, now: SystemTime) -> Text {
    match (&token.revoke_time, counts(token, now)) {
        (Some(time), _) => Text::toned(&format!("revoked {}", when::ago(Some(time), now)), Tone::Bad),
        (None, true) => Text::toned("counts", Tone::Good),
        (None, false) => Text::toned("expired", Tone::Bad),
    }
}

fn method(method: AuthenticationMethod) -> &'static str {
    match method {
        AuthenticationMethod::Unspecified => "-",
        AuthenticationMethod::Local => "nothing: nobody is asked for a proof",
        AuthenticationMethod::Certificate => "a certificate",
        AuthenticationMethod::Token => "a token",
    }
}

/// All of them hold together.
fn scopes(scopes: &[Scope]) -> String {
    let told: Vec<String> = scopes.iter().map(scope).filter(|told| !told.is_empty()).collect();
    if told.is_empty() { "nothing".to_owned() } else { told.join(", and to ") }
}

fn scope(Scope { services, zones, labels }: &Scope) -> String {
    let mut labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort_unstable();
    let parts = [("services", services), ("zones", zones), ("labels", &labels)];
    let named = parts.into_iter().filter(|(_, all)| !all.is_empty());
    let named: Vec<String> = named.map(|(kind, all)| format!("{kind} {}", all.join(", "))).collect();
    named.join("; ")
}

/// `in 23d`; a dash for never.
fn expiry(time: Option<&Timestamp>, now: SystemTime) -> Text {
    match left(time, now) {
        None => "-".into(),
        Some(Duration::ZERO) => {
            Text::toned(&format!("{} ago", when::age(time, now).unwrap_or_default()), Tone::Bad)
        }
        Some(left) if left < SOON => Text::toned(&format!("in {}", when::coarse(left)), Tone::Uneasy),
        Some(left) => format!("in {}", when::coarse(left)).into(),
    }
}

/// How long it still counts. None: for ever.
fn left(time: Option<&Timestamp>, now: SystemTime) -> Option<Duration> {
    let end = SystemTime::try_from(*time?).ok()?;
    Some(end.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::cli::output::Looks;

    const PLAIN: Looks = Looks { colour: false, unicode: false };

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000)
    }

    #[test]
    fn callers_are_told_with_what_they_may() {
        let mut who = Identity {
            name: "token:alice".into(),
            method: AuthenticationMethod::Token.into(),
            role: Role::Operator.into(),
            expire_time: at(1_700_000_000),
            ..Identity::default()
        };
        assert_eq!(in_words(&who), "token:alice (operator), until 2023-11-14T22:13:20Z");
        assert!(facts(&who, "h", "", now()).lines(PLAIN).join("\n").contains("narrowed to  nothing"));
        who.scopes = vec![
            Scope {
                services: vec!["payments-*".into()],
                zones: Vec::new(),
                labels: HashMap::from([("team".into(), "checkout".into())]),
            },
            Scope { zones: vec!["a".into(), "b".into()], ..Scope::default() },
        ];
        let lines = facts(&who, "http://h:1", "", now()).lines(PLAIN).join("\n");
        for part in [
            "proved by    a token",
            "narrowed to  services payments-*; labels team=checkout, and to zones a, b",
            "context      -",
        ] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        let local = Identity { name: "local".into(), ..Identity::default() };
        assert_eq!(in_words(&local), "local (everything)");
        assert_eq!(may(Role::Service, "orders"), "service orders");
    }

    #[test]
    fn tokens_are_told_with_how_they_stand() {
        let token = |name: &str, expires, revoked| Token {
            token_id: "tok-1".into(),
            name: name.into(),
            role: Role::Viewer.into(),
            expire_time: at(expires),
            revoke_time: revoked,
            ..Token::default()
        };
        let all = [
            token("good", 1_172_800, None),
            token("old", 999_940, None),
            token("gone", 2_000_000, at(999_000)),
        ];
        let lines = tokens(&all, false, true, now()).lines(PLAIN);
        assert_eq!(lines[0], "TOKEN  ROLE    SERVICE  EXPIRES  LAST USED  STATE");
        assert_eq!(lines[1], "good   viewer  -        in 2d    -          counts");
        assert_eq!(lines[2], "old    viewer  -        60s ago  -          expired");
        assert!(lines[3].ends_with("revoked 16m ago"), "{lines:?}");
    }
}
