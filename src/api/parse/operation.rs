//! Which operation is meant, and which are listed.

use super::Fields;
use crate::{
    api::proto::v1 as pb,
    id::Ordered,
    operation::{Kind, State},
};

/// The id of an operation.
pub fn id(fields: &mut Fields, text: &str) -> Option<Ordered> {
    if text.is_empty() {
        fields.wrong("id", "is missing; list the operations to find it");
        return None;
    }
    fields.take("id", Ordered::parse(text))
}

/// A kind to filter by. None: any.
pub fn kind(fields: &mut Fields, wire: i32) -> Option<Kind> {
    match pb::OperationKind::try_from(wire) {
        Ok(pb::OperationKind::Unspecified) => None,
        Ok(pb::OperationKind::Backup) => Some(Kind::Backup),
        Ok(pb::OperationKind::Restore) => Some(Kind::Restore),
        Ok(pb::OperationKind::Verify) => Some(Kind::Verify),
        Err(_) => {
            fields.wrong("kind", format!("{wire} is not a kind of operation"));
            None
        }
    }
}

/// A state to filter by. None: any.
pub fn state(fields: &mut Fields, wire: i32) -> Option<State> {
    match pb::OperationState::try_from(wire) {
        Ok(pb::OperationState::Unspecified) => None,
        Ok(pb::OperationState::Pending) => Some(State::Pending),
        Ok(pb::OperationState::Running) => Some(State::Running),
        Ok(pb::OperationState::Cancelling) => Some(State::Cancelling),
        Ok(pb::OperationState::Succeeded) => Some(State::Succeeded),
        Ok(pb::OperationState::Partial) => Some(State::Partial),
        Ok(pb::OperationState::Failed) => Some(State::Failed),
        Ok(pb::OperationState::Cancelled) => Some(State::Cancelled),
        Err(_) => {
            fields.wrong("state", format!("{wire} is not a state of an operation"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::convert::operation as convert;

    #[test]
    fn what_is_shown_can_be_asked_for_and_nothing_else() {
        let mut fields = Fields::default();
        for shown in [Kind::Backup, Kind::Restore, Kind::Verify] {
            assert_eq!(kind(&mut fields, convert::kind(shown).into()), Some(shown));
        }
        for shown in [
            State::Pending,
            State::Running,
            State::Cancelling,
            State::Succeeded,
            State::Partial,
            State::Failed,
            State::Cancelled,
        ] {
            assert_eq!(state(&mut fields, convert::state(shown).into()), Some(shown));
        }
        assert_eq!((kind(&mut fields, 0), state(&mut fields, 0)), (None, None));
        assert!(fields.check().is_ok());
        let mut fields = Fields::default();
        kind(&mut fields, 99);
        state(&mut fields, 99);
        id(&mut fields, "");
        id(&mut fields, "orders");
        crate::api::parse::place(&mut fields, "orders");
        let error = fields.check().unwrap_err();
        let named: Vec<_> = error.violations().iter().map(|it| it.field.as_str()).collect();
        assert_eq!(named, ["kind", "state", "id", "id", "page_token"]);
    }
}
