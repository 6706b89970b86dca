//! Directives.

use super::duration;
use crate::{
    api::proto::v1 as pb,
    fleet::{
        directive::{Ask, Directive, Restore},
        names::ComponentName,
    },
    time::Mono,
};

/// A directive as it is sent now.
pub fn directive(value: &Directive, now: Mono) -> pb::Directive {
    let Directive { id, operation_id, generation, not_after: _, ask } = value;
    pb::Directive {
        id: id.to_string(),
        operation_id: operation_id.clone(),
        generation: *generation,
        valid_for: Some(duration(value.valid_for(now))),
        ask: Some(asked(ask)),
    }
}

fn asked(value: &Ask) -> pb::directive::Ask {
    match value {
        Ask::Capture { component, ticket } => pb::directive::Ask::Capture(pb::CaptureDirective {
            component: component.to_string(),
            ticket: ticket.reveal().to_owned(),
        }),
        Ask::Restore(Restore {
            component,
            ticket,
            backup_id,
            source_component,
            length,
            evidence,
            verify,
        }) => pb::directive::Ask::Restore(pb::RestoreDirective {
            component: component.to_string(),
            ticket: ticket.reveal().to_owned(),
            backup_id: backup_id.clone(),
            source_component: source_component.clone(),
            length: *length,
            evidence: evidence.iter().map(|(name, text)| (name.clone(), text.clone())).collect(),
            verify: *verify,
        }),
        Ask::Quiesce { components, hold_id, lease } => pb::directive::Ask::Quiesce(pb::QuiesceDirective {
            components: names(components),
            hold_id: hold_id.clone(),
            lease: Some(duration(*lease)),
        }),
        Ask::Resume { hold_id } => {
            pb::directive::Ask::Resume(pb::ResumeDirective { hold_id: hold_id.clone() })
        }
        Ask::Inspect { components } => {
            pb::directive::Ask::Inspect(pb::InspectDirective { components: names(components) })
        }
        Ask::Cancel { directive } => {
            pb::directive::Ask::Cancel(pb::CancelDirective { directive_id: directive.to_string() })
        }
    }
}

fn names(components: &[ComponentName]) -> Vec<String> {
    components.iter().map(ToString::to_string).collect()
}
