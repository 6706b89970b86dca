//! Places in lists that begin with the control plane's own and go on with what instances reported.

use crate::{
    api::{
        page,
        parse::{self, Fields},
    },
    fleet::names::InstanceKey,
};

/// Where a page ended: at this row, which was the last one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// A row of the control plane's own.
    Own(String),
    /// A row of an instance; empty: the instance itself is the row.
    Of(InstanceKey, String),
}

impl Place {
    /// The place of a page token. None: the beginning.
    pub(super) fn parse(fields: &mut Fields, token: &str) -> Option<Self> {
        let text = page::after(fields, token)?;
        // No service has an empty name.
        if let Some(own) = text.strip_prefix('/') {
            return Some(Place::Own(own.to_owned()));
        }
        let mut parts = text.splitn(3, '/');
        let (service, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let key = parse::instance_key(fields, "page_token", service, id)?;
        Some(Place::Of(key, parts.next().unwrap_or_default().to_owned()))
    }

    /// The token of the page that begins after it.
    pub(super) fn token(&self) -> String {
        page::token(&match self {
            Place::Own(row) => format!("/{row}"),
            Place::Of(key, row) => format!("{key}/{row}"),
        })
    }

    /// Whether a row of the control plane's own is after it.
    pub(super) fn is_before_own(&self, row: &str) -> bool {
        matches!(self, Place::Own(last) if row > last.as_str())
    }

    /// The instance that a page goes on with, itself included.
    pub(super) fn instance(&self) -> Option<&InstanceKey> {
        match self {
            Place::Of(key, _) => Some(key),
            Place::Own(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::names::{InstanceId, ServiceName};

    #[test]
    fn a_place_comes_back_whatever_the_name_of_an_operation() {
        let key = InstanceKey {
            service: ServiceName::parse("orders").unwrap(),
            id: InstanceId::parse("i-1").unwrap(),
        };
        for place in [
            Place::Own("store".into()),
            Place::Own("a/limits/GLOBAL/".into()),
            Place::Of(key.clone(), String::new()),
            Place::Of(key.clone(), "charge-card".into()),
            Place::Of(key, "/a//b/".into()),
        ] {
            let mut fields = Fields::default();
            assert_eq!(Place::parse(&mut fields, &place.token()), Some(place));
            assert!(fields.check().is_ok());
        }
        for wrong in [page::token("orders"), page::token("Orders/i-1/x"), "x".to_owned()] {
            let mut fields = Fields::default();
            assert_eq!(Place::parse(&mut fields, &wrong), None);
            assert!(fields.check().is_err());
        }
    }
}
