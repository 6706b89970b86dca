//! How a component's capture settings stand in the record of its instance. Records from before there were any have none,
//! which is what most components say.

use serde::{Deserialize, Serialize};

use super::damaged;
use crate::{
    error::Result,
    fleet::registration::{Capture, CaptureScope, Cut},
};

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Serialize)]
pub(super) struct CaptureRecord {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    each: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    quiesces: bool,
    #[serde(default, skip_serializing_if = "super::is_zero")]
    page_bytes: u32,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incompressible: bool,
}

impl CaptureRecord {
    pub(super) fn says_nothing(&self) -> bool {
        *self == Self::default()
    }
}

pub(super) fn record(capture: Capture) -> CaptureRecord {
    let Capture { scope, quiesces, cut, incompressible } = capture;
    CaptureRecord {
        each: scope == CaptureScope::Each,
        quiesces,
        page_bytes: cut.page_bytes(),
        incompressible,
    }
}

pub(super) fn of(store_key: &str, stored: CaptureRecord) -> Result<Capture> {
    let CaptureRecord { each, quiesces, page_bytes, incompressible } = stored;
    Ok(Capture {
        scope: if each { CaptureScope::Each } else { CaptureScope::One },
        quiesces,
        cut: Cut::of(page_bytes).ok_or_else(|| damaged(store_key, "components.capture.page_bytes"))?,
        incompressible,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fleet::{
            record::{decode_instance, encode_instance, instance_key},
            testing::{birth, key, registration, start},
        },
        store::Entry,
    };

    #[test]
    fn settings_are_read_as_they_were_written_and_records_without_them_are_still_read() {
        let mut registered = registration(&key("orders", "i-1"));
        let plain = registered.components[0].clone();
        let captures = [(8192, false, true, false), (0, true, false, false), (1 << 20, true, true, true)];
        let settings = captures.map(|(page, each, quiesces, incompressible)| Capture {
            scope: if each { CaptureScope::Each } else { CaptureScope::One },
            quiesces,
            cut: Cut::of(page).unwrap(),
            incompressible,
        });
        let others = settings.map(|capture| {
            let mut component = plain.clone();
            component.capture = capture;
            component
        });
        registered.components = std::iter::once(plain).chain(others).collect();
        let value = encode_instance(&birth(registered.clone(), 1, start().wall)).unwrap();
        let text = String::from_utf8(value.to_vec()).unwrap();
        // The first says nothing, as all do in records of builds before this one, and those read the rest as well.
        assert_eq!(text.matches("\"capture\"").count(), 3, "{text}");
        assert!(text.starts_with("{\"version\":1,"), "{text}");
        let entry = Entry { key: instance_key(&registered.key), value, revision: 1 };
        assert_eq!(*decode_instance(&entry).unwrap().registration, registered);
        let damaged = text.replace("\"page_bytes\":8192", "\"page_bytes\":8191");
        assert_ne!(damaged, text);
        assert!(decode_instance(&Entry { value: damaged.into(), ..entry }).is_err());
    }
}
