//! What a service asks: the newest flags that somebody gave, with the service's own defaults for what is not among them.

use std::{collections::HashMap, fmt, sync::Arc};

use tokio::sync::watch;

use super::{
    evaluate::{Context, evaluate},
    flag::Flag,
    told::{Miss, Told},
    value::{Kind, Value},
};

/// The flags of an instance. Cheap to clone; clones answer alike.
///
/// Asking never waits and never fails. Until the first flags come, where a flag is not known, and where it is of another
/// kind than is asked for, the default that the code gives holds; the log says so once, at debug.
///
/// ```
/// use seaworthy_client::flags::Flags;
///
/// let flags = Flags::new("orders", "orders-7");
/// if flags.bool_for("new-checkout", "user-4711", false) {
///     // the new one
/// }
/// ```
#[derive(Clone)]
pub struct Flags {
    shared: Arc<Shared>,
    seen: watch::Receiver<Option<Newest>>,
}

/// The flags that were given last, by name.
type Newest = HashMap<String, Known>;

struct Shared {
    service: String,
    instance: String,
    /// None: nobody has given any yet.
    newest: watch::Sender<Option<Newest>>,
    told: Told,
}

/// One flag, as far as it concerns this instance.
#[derive(Debug, PartialEq)]
struct Known {
    flag: Flag,
    /// What holds where no key is given: always the same here.
    without_key: Value,
}

impl Flags {
    /// Flags as this instance of a service sees them. There are none yet.
    pub fn new(service: impl Into<String>, instance: impl Into<String>) -> Self {
        let (newest, seen) = watch::channel(None);
        let (service, instance) = (service.into(), instance.into());
        Self { shared: Arc::new(Shared { service, instance, newest, told: Told::default() }), seen }
    }

    /// Whether a switch is on for this instance. Allocates nothing.
    pub fn bool(&self, name: &str, default: bool) -> bool {
        self.ask(name, None, Kind::Bool, Value::as_bool).unwrap_or(default)
    }

    /// Whether a switch is on for a key, such as a user. Allocates nothing.
    pub fn bool_for(&self, name: &str, key: &str, default: bool) -> bool {
        self.ask(name, Some(key), Kind::Bool, Value::as_bool).unwrap_or(default)
    }

    /// The text that holds for this instance.
    pub fn text(&self, name: &str, default: &str) -> String {
        self.ask(name, None, Kind::Text, owned_text).unwrap_or_else(|| default.to_owned())
    }

    /// The text that holds for a key, such as a user.
    pub fn text_for(&self, name: &str, key: &str, default: &str) -> String {
        self.ask(name, Some(key), Kind::Text, owned_text).unwrap_or_else(|| default.to_owned())
    }

    /// The whole number that holds for this instance.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.ask(name, None, Kind::Int, Value::as_int).unwrap_or(default)
    }

    /// The whole number that holds for a key, such as a user.
    pub fn int_for(&self, name: &str, key: &str, default: i64) -> i64 {
        self.ask(name, Some(key), Kind::Int, Value::as_int).unwrap_or(default)
    }

    /// The number that holds for this instance.
    pub fn double(&self, name: &str, default: f64) -> f64 {
        self.ask(name, None, Kind::Double, Value::as_double).unwrap_or(default)
    }

    /// The number that holds for a key, such as a user.
    pub fn double_for(&self, name: &str, key: &str, default: f64) -> f64 {
        self.ask(name, Some(key), Kind::Double, Value::as_double).unwrap_or(default)
    }

    /// Waits until something changes of what concerns this instance, or answers at once where it has since this clone last
    /// waited; a new clone begins where the one it was made from stands. The first flags are a change, even if there are
    /// none. Waits for as long as nothing changes. Cancel safe.
    pub async fn changed(&mut self) {
        // It cannot fail: this clone keeps the sender alive.
        self.seen.changed().await.ok();
    }

    /// Puts these flags in place of all that were there before, for all clones, however many there are: a control plane has
    /// up to 1,000. Of two with the same name the last one counts. Whoever hears of flags calls this; a test may too.
    pub fn replace(&self, flags: Vec<Flag>) {
        let Shared { service, instance, newest, told: _ } = &*self.shared;
        let known =
            flags.into_iter().map(|flag| (flag.name().to_owned(), Known::new(flag, service, instance)));
        let flags = Some(known.collect());
        let same = *newest.borrow() == flags;
        if !same {
            newest.send_replace(flags);
        }
    }

    fn ask<T>(
        &self,
        name: &str,
        key: Option<&str>,
        asked: Kind,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Option<T> {
        let miss = {
            let newest = self.shared.newest.borrow();
            match newest.as_ref()?.get(name) {
                Some(known) => match read(self.value(known, key)) {
                    Some(value) => return Some(value),
                    None => Miss::OtherKind { is: known.flag.kind(), asked },
                },
                None => Miss::Unknown,
            }
        };
        // Not while the flags are held: a log may take its time.
        self.shared.told.tell(name, miss);
        None
    }

    fn value<'a>(&self, known: &'a Known, key: Option<&str>) -> &'a Value {
        if key.is_none() {
            return &known.without_key;
        }
        let Shared { service, instance, .. } = &*self.shared;
        evaluate(&known.flag, &Context { service, instance, key }).value
    }
}

impl Known {
    fn new(flag: Flag, service: &str, instance: &str) -> Self {
        let flag = flag.reduced_to(service, instance);
        let without_key = evaluate(&flag, &Context { service, instance, key: None }).value.clone();
        Self { flag, without_key }
    }
}

fn owned_text(value: &Value) -> Option<String> {
    value.as_text().map(str::to_owned)
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { service, instance, newest, told: _ } = &*self.shared;
        let known = newest.borrow().as_ref().map(HashMap::len);
        f.debug_struct("Flags")
            .field("service", service)
            .field("instance", instance)
            .field("known", &known)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
