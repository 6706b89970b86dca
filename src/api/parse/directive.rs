//! What an instance says of a directive.

use crate::{
    api::proto::v1 as pb,
    fleet::{
        directive::{Inspection, Report, State, words},
        names::ComponentName,
        registration::MAX_COMPONENTS,
    },
};

/// The directive that a report is about, and what it says. None: it is of a state that nobody knows. There is nobody to tell
/// what is wrong with it: words are cut, and what is there of components without a name is left out.
pub fn report(wire: pb::DirectiveReport) -> Option<(String, Report)> {
    let pb::DirectiveReport { directive_id, state, message, held, inspections, verification } = wire;
    let state = match pb::DirectiveState::try_from(state) {
        Ok(pb::DirectiveState::Received) => State::Received,
        Ok(pb::DirectiveState::Started) => State::Started,
        Ok(pb::DirectiveState::Done) => State::Done,
        Ok(pb::DirectiveState::Failed) => State::Failed,
        Ok(pb::DirectiveState::Refused) => State::Refused,
        Ok(pb::DirectiveState::Unspecified) | Err(_) => return None,
    };
    let inspections = inspections.into_iter().take(MAX_COMPONENTS).filter_map(inspection).collect();
    let (message, verification) = (words(&message), words(&verification));
    Some((directive_id, Report { state, message, held, inspections, verification }))
}

fn inspection(wire: pb::Inspection) -> Option<Inspection> {
    let pb::Inspection { component, empty, bytes, schema_version } = wire;
    let component = ComponentName::parse(&component).ok()?;
    Some(Inspection { component, empty, bytes, schema_version })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_and_bounded() {
        let inspected = |component: &str| pb::Inspection {
            component: component.into(),
            bytes: 7,
            ..pb::Inspection::default()
        };
        let mut wire = pb::DirectiveReport {
            directive_id: "d-1".into(),
            state: pb::DirectiveState::Done.into(),
            message: "é".repeat(2000),
            inspections: vec![inspected("database"), inspected("No Name")],
            ..pb::DirectiveReport::default()
        };
        let (id, read) = report(wire.clone()).unwrap();
        assert_eq!((id.as_str(), read.state, read.message.chars().count()), ("d-1", State::Done, 1024));
        assert_eq!((read.inspections.len(), read.inspections[0].bytes), (1, 7));
        wire.inspections = vec![inspected("database"); 1000];
        assert_eq!(report(wire.clone()).unwrap().1.inspections.len(), MAX_COMPONENTS);
        for unknown in [0, 6, -1] {
            wire.state = unknown;
            assert_eq!(report(wire.clone()), None);
        }
    }
}
